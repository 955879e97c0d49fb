"use strict";
const $ = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Theme: what the system has, until the button says otherwise.
const dark = matchMedia("(prefers-color-scheme: dark)");
function showTheme() {
  const theme = document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  $("theme").setAttribute("aria-pressed", theme === "dark");
  return theme;
}
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = showTheme() === "dark" ? "light" : "dark";
  showTheme();
});
dark.addEventListener("change", showTheme);
showTheme();

// Sorting: up, down, and back to the order of the page; blank cells stay below.
function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}
function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
}
for (const table of all("table.sortable")) {
  const body = table.tBodies[0];
  const first = [...body.rows];
  all("thead th", table).forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
      all("thead th", table).forEach((one) => one.removeAttribute("aria-sort"));
      const rows = [...first];
      if (next) {
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const blank = (row) => value(row, column) === "";
        rows.sort((a, b) => blank(a) - blank(b) || sign * compare(value(a, column), value(b, column)));
      }
      body.append(...rows);
    });
  });
}

// Filters: every word that is typed has to be there.
const words = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);
const has = (element, wanted) => wanted.every((word) => element.textContent.toLowerCase().includes(word));
function filterRows() {
  const rows = all("#rates tbody tr");
  const only = $("only") ? $("only").value : "";
  for (const row of rows) {
    const names = words($("filter")).every((word) => (row.cells[0].textContent + " " + row.cells[1].textContent).toLowerCase().includes(word));
    row.hidden = !(names && (!only || all("[data-verdict]", row).some((cell) => cell.dataset.verdict === only)));
  }
  $("shown").value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
}
$("filter").addEventListener("input", filterRows);
$("only")?.addEventListener("change", filterRows);

const list = $("utterances");
if (list) {
  const first = [...list.children];
  const showFound = () => {
    for (const item of first) item.hidden = !has(item, words($("find")));
    $("found").value = `${first.filter((item) => !item.hidden).length} of ${first.length} utterances`;
  };
  $("find").addEventListener("input", showFound);
  $("order")?.addEventListener("change", () => {
    const key = $("order").value;
    list.append(...[...first].sort((a, b) => b.dataset[key] - a.dataset[key]));
  });
  for (const audio of all("audio")) audio.addEventListener("play", () => all("audio").forEach((other) => other !== audio && other.pause()));
}
for (const form of all("form")) form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("beforeprint", () => all("details").forEach((one) => (one.open = true)));
