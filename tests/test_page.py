"""The page of a comparison, in a real browser: quiet, offline, sorted, filtered, heard, in both colours."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from test_compare import compared, experiment_of, heard, references

from ds2toolkit.score.page import audio, svg
from ds2toolkit.score.page.build import page, write
from ds2toolkit.score.page.evidence import Evidence
from ds2toolkit.score.significance import Estimate

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required --window-size=1280,900"
)
HOSTILE = """</script><script>alert(1)</script><img src=http://example.org/x onerror=alert(2)> & "quoted" 'it'"""
NONE_WITHOUT_END = {"meta", "link", "input", "br"}


class Browser:
    """Chromium by way of chromedriver: the few commands of W3C WebDriver that these tests need."""

    def __init__(self, profile):
        self.driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        lines = iter(self.driver.stdout.readline, "")
        port = next(found[1] for line in lines if (found := re.search(r"successfully on port (\d+)", line)))
        options = {"binary": CHROMIUM, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.url = f"http://127.0.0.1:{port}/session"
        self.url += "/" + self.send("", capabilities={"alwaysMatch": wanted})["sessionId"]

    def send(self, path, method="POST", **body):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def js(self, code, *arguments):
        """What the code returns; a promise is waited for."""
        return self.send("/execute/sync", script=code, args=list(arguments))

    def cdp(self, command, **parameters):
        return self.send("/goog/cdp/execute", cmd=command, params=parameters)

    def type(self, text):
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.send("/actions", actions=[{"type": "key", "id": "keyboard", "actions": keys}])

    def click(self, selector):
        """As a person does: with the mouse, on the middle of what is seen."""
        found = self.send("/element", using="css selector", value=selector)
        self.send(f"/element/{next(iter(found.values()))}/click")

    def open(self, path, scheme="light", width=1280):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.cdp("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("/url", url=path.as_uri())

    def close(self):
        try:
            self.send("", method="DELETE")
        finally:
            self.driver.terminate()
            self.driver.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Two models on 240 utterances, whose audio is a tone; the transcript of one would like to be HTML."""
    root = tmp_path_factory.mktemp("page")
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(3 * 16000) / 16000)
    soundfile.write(root / "tone.wav", np.stack([tone, 0 * tone], axis=1), 16000)
    refs = [replace(one, audio=str(root / "tone.wav"), audio_start_s=0.5) for one in references(240)]
    refs[7] = replace(refs[7], ref=3 * HOSTILE, hyp=HOSTILE, speaker="<b>s7</b>")
    models = [heard(refs, rate, seed) for rate, seed in ((0.3, 1), (0.1, 2))]
    models[1][7] = replace(refs[7], hyp=f"<i>{HOSTILE}")
    return compared(*(experiment_of(root / name, hyps) for name, hyps in zip("ab", models, strict=True)))


@pytest.fixture(scope="module")
def file(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("html") / "page.html"
    write(comparison, path)
    return path


def column(browser, number):
    rows = "[...document.querySelectorAll('#rates tbody tr')].filter(row => !row.hidden)"
    return browser.js(f"return {rows}.map(row => row.cells[{number}].innerText.split('\\n')[0])")


def test_it_is_quiet_and_asks_no_network(browser, file):
    browser.open(file)
    time.sleep(0.5)
    assert browser.send("/se/log", type="browser") == []
    events = [json.loads(one["message"])["message"] for one in browser.send("/se/log", type="performance")]
    sent = [one["params"] for one in events if one["method"] == "Network.requestWillBeSent"]
    asked = {one["request"]["url"] for one in sent if one["documentURL"] == file.as_uri()}  # not the browser's own first tab
    assert file.as_uri() in asked
    assert {url for url in asked if not url.startswith(("file:", "data:"))} == set()
    assert browser.js("return document.querySelectorAll('script').length") == 1


def test_a_transcript_is_text_and_nothing_else(browser, file):
    browser.open(file)
    assert browser.js("return document.querySelectorAll('img, #utterances b b').length") == 0
    assert "</script><script>alert(1)" in browser.js("return document.body.textContent")


def test_the_head_sorts_by_mouse_and_by_keyboard(browser, file):
    browser.open(file)
    first = column(browser, 1)
    assert first == ["all", "clean", "20 dB", "5 dB"]
    states = []
    for expected in (sorted, lambda rates: sorted(rates, reverse=True), list):
        browser.click("#rates thead th:nth-child(4) button")
        states.append(browser.js("return document.querySelector('#rates thead th:nth-child(4)').getAttribute('aria-sort')"))
        rates = [float(text) for text in column(browser, 3)]
        assert rates == expected(rates)
    assert (states, column(browser, 1)) == (["ascending", "descending", None], first)
    browser.js("document.querySelector('#rates thead th:nth-child(2) button').focus()")
    browser.type("\ue007\ue007")  # Enter, twice
    assert column(browser, 1) == first[::-1]
    assert browser.js("return document.querySelectorAll('#rates [aria-sort]').length") == 1


def test_filters(browser, file):
    browser.open(file)
    browser.js("document.querySelector('#filter').focus()")
    browser.type("20 dB")
    assert column(browser, 1) == ["20 dB"]
    assert browser.js("return document.querySelector('#shown').value") == "1 of 4 rows"
    browser.js("const s = document.querySelector('#only'); s.value = 'worse'; s.dispatchEvent(new Event('change'))")
    assert column(browser, 1) == []
    browser.js("document.querySelector('#find').focus()")
    browser.type("speaker s3")
    shown = browser.js("return [...document.querySelectorAll('#utterances li')].filter(one => !one.hidden).map(one => one.innerText)")
    assert shown and all("speaker s3" in text for text in shown)
    assert browser.js("return document.querySelector('#found').value") == f"{len(shown)} of 20 utterances"


def test_the_worst_can_be_ordered_by_model(browser, file):
    browser.open(file)
    gains = "return [...document.querySelectorAll('#utterances li')].map(one => Number(one.dataset.d1))"
    before = browser.js(gains)
    browser.js("const s = document.querySelector('#order'); s.value = 'd1'; s.dispatchEvent(new Event('change'))")
    assert browser.js(gains) == sorted(before, reverse=True) != before


def test_the_audio_plays_one_at_a_time(browser, file):
    browser.open(file)
    played = browser.js(
        "const [one, two] = document.querySelectorAll('audio'); await one.play();"
        "await new Promise(done => one.addEventListener('timeupdate', () => one.currentTime > 0.2 && done()));"
        "const heard = one.currentTime; await two.play();"
        "await new Promise(done => setTimeout(done, 100));"
        "return [heard, one.duration, one.paused, two.paused, one.error]"
    )
    assert played[0] > 0.2 and 1.9 < played[1] < 2.1
    assert played[2:] == [True, False, None]


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_both_colours_of_the_system_and_of_the_button(browser, file, scheme, other):
    def looks():
        colour = browser.js("return getComputedStyle(document.body).backgroundColor")
        pressed = browser.js("return document.querySelector('#theme').getAttribute('aria-pressed')")
        assert pressed == str(sum(map(int, re.findall(r"\d+", colour)[:3])) < 384).lower()
        return "dark" if pressed == "true" else "light"

    browser.open(file, scheme)
    assert looks() == scheme
    browser.click("#theme")
    assert looks() == other


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_it_fits_its_window_and_has_colours_that_can_be_read(browser, file, scheme, width):
    browser.open(file, scheme, width)
    assert browser.js("return document.documentElement.scrollWidth") <= width
    picture = browser.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
    (file.parent / f"{scheme}-{width}.png").write_bytes(base64.b64decode(picture))
    assert browser.js(CONTRAST) == []


CONTRAST = """
const light = (colour) => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  const part = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  return [0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b), a];
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const [value, alpha] = light(getComputedStyle(element).backgroundColor);
    if (alpha === 255) return value;
  }
};
return [...document.querySelectorAll('p, th, td, dt, dd, del, ins, small, a, button, .verdict, .who span')].filter(one => {
  if (!one.innerText || !one.offsetParent) return false;
  const [a, b] = [light(getComputedStyle(one).color)[0], behind(one)].sort((a, b) => b - a);
  return (a + 0.05) / (b + 0.05) < 4.5;
}).slice(0, 5).map(one => one.outerHTML.slice(0, 90));
"""


def test_it_prints_in_light_colours_without_buttons(browser, file):
    browser.open(file, "dark")
    browser.cdp("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert browser.js("return getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 252)"
    assert browser.js("return [...document.querySelectorAll('#theme, nav, audio, form')].filter(one => one.offsetParent).length") == 0


def test_what_a_screen_reader_needs(browser, file):
    browser.open(file)
    assert browser.js(
        "return [...document.querySelectorAll('input, select, button, audio, svg[role], [role=region]')].filter("
        "one => !(one.labels?.length || one.ariaLabel || one.innerText?.trim())).map(one => one.outerHTML)"
    ) == []  # fmt: skip
    assert browser.js("return [...document.querySelectorAll('table th')].filter(one => !one.scope).length") == 0
    headings = browser.js("return [...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1]))")
    assert headings[0] == 1 and all(after - before <= 1 for before, after in zip(headings, headings[1:], strict=False))
    assert browser.js("return document.documentElement.lang") == "en"
    tree = browser.cdp("Accessibility.getFullAXTree")["nodes"]
    said = [one["name"]["value"] for one in tree if one.get("role", {}).get("value") == "image"]
    assert any(text.startswith("an4 test, 20 dB: an4-a ") for text in said)
    assert any(text.startswith("WER against noise, an4 test. clean: ") for text in said)


class Parser(HTMLParser):
    """Counts elements and checks that each that is opened is closed in its place."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.ids = [], Counter(), Counter()

    def handle_starttag(self, tag, attrs):
        self.seen[tag] += 1
        self.ids.update(value for key, value in attrs if key == "id")
        if tag not in NONE_WITHOUT_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(comparison):
    parser = Parser()
    parser.feed(page(comparison))
    assert parser.open == [] and max(parser.ids.values()) == 1
    return parser.seen


def test_without_a_browser_it_is_whole_html(comparison):
    seen = parsed(comparison)
    assert (seen["audio"], seen["script"], seen["img"], seen["h1"]) == (20, 1, 0, 1)
    assert seen["figure"] == 3  # noise, length, speaking rate


def test_without_audio_it_says_so(tmp_path):
    refs = references()
    quiet = compared(experiment_of(tmp_path / "a", heard(refs, 0.2, 1)), experiment_of(tmp_path / "b", heard(refs, 0.2, 2)))
    assert "None of them can be heard: the hypotheses do not say where the audio is." in page(quiet)
    gone = [replace(one, audio="/nowhere.wav") for one in heard(refs, 0.2, 1)]
    assert "None of them can be heard: its files are gone, or too large." in page(compared(experiment_of(tmp_path / "c", gone)))
    assert parsed(quiet)["audio"] == 0


def test_one_model_mandarin_blanks_and_no_errors(tmp_path):
    said = [replace(one, ref="今天天气" * (i % 4 + 1), hyp="今天天七" * (i % 4 + 1)) for i, one in enumerate(references(60))]
    mandarin = compared(experiment_of(tmp_path / "m", said, recipe="mandarin", unit="character"))
    text = page(mandarin)
    assert "Character error rate" in text and "<ins>七</ins>" in text and "Difference" not in text and parsed(mandarin)["h1"] == 1
    perfect = compared(experiment_of(tmp_path / "p", references()), experiment_of(tmp_path / "q", references()))
    assert "as many errors as" in page(perfect) and 'id="worst"' not in page(perfect)
    other = experiment_of(tmp_path / "w", references(name="eval92", conditions=("all",)), recipe="wsj")
    apart = compared(experiment_of(tmp_path / "r", heard(references(), 0.1, 1)), other)
    assert "not tested" in page(apart) and 'id="confusions"' not in page(apart) and parsed(apart)["table"] == 3


def test_audio_is_the_part_and_the_channel_that_was_meant(tmp_path):
    rate_hz = 8000
    ramp_TC = np.stack([np.arange(4 * rate_hz), -np.arange(4 * rate_hz)], axis=1).astype("int16")
    soundfile.write(tmp_path / "two.wav", ramp_TC, rate_hz)
    one = replace(references(1)[0], audio=str(tmp_path / "two.wav"), audio_start_s=1.0, duration_s=0.5, audio_channel=1)
    head, _, data = audio.data_url(one).partition(",")
    assert head == "data:audio/flac;base64"
    (tmp_path / "out.flac").write_bytes(base64.b64decode(data))
    samples, found_hz = soundfile.read(tmp_path / "out.flac", dtype="int16")
    assert found_hz == rate_hz and samples.tolist() == ramp_TC[rate_hz : rate_hz * 3 // 2, 1].tolist()
    (tmp_path / "text.wav").write_text("no audio")
    for bad in ({"audio": None}, {"audio": str(tmp_path / "gone")}, {"audio": str(tmp_path / "text.wav")}, {"audio_channel": 2}):
        assert audio.data_url(replace(one, **bad)) is None
    assert audio.data_url(replace(one, audio_start_s=9.0)) is None


def test_evidence_adds_up(comparison):
    evidence = Evidence(comparison)
    whole = comparison.rows[0]
    for place, cell in enumerate(whole.cells):
        kinds = evidence.confusions("word", 10**6)
        counted = {kind: sum(one.counts[place] for one in found) for kind, found in kinds.items()}
        assert counted == {"substitutions": cell.counts.sub, "deletions": cell.counts.dele, "insertions": cell.counts.ins}
    for bins in (evidence.by_length(), evidence.by_speed()):
        assert sum(one.num_utterances for one in bins) == whole.num_utterances
        assert all(before.high < after.low for before, after in zip(bins, bins[1:], strict=False))
    errors = [sum(one.errors) for one in evidence.worst(20)]
    assert errors == sorted(errors, reverse=True) and len(errors) == 20


@pytest.mark.parametrize(("top", "ticks"), [(0.0, 5), (3.2, 5), (9.9, 5), (38.0, 5), (100.0, 5), (680.0, 5)])
def test_ticks_cover_what_is_drawn(top, ticks):
    found = svg.nice_ticks([Estimate(0.001), Estimate(top / 100), Estimate(float("inf"))] if top else [Estimate(0.0)])
    assert found[0] == 0 and found[-1] >= top and abs(len(found) - ticks) <= 2
    assert svg.nice_ticks([Estimate(0.01, 0.005, top / 100)] if top else [])[-1] >= top


def test_curves_stay_in_their_frame_where_intervals_are_wide_or_absent():
    points = [svg.Point(1.0, "<1>", Estimate(0.1)), svg.Point(2.0, "2", Estimate(0.2, 0.01, 9.0))]
    picture = svg.curves([points], "x & y", "%", 'a "b"', [(0, 0)])
    assert "&lt;1&gt;" in picture and "x &amp; y" in picture and 'aria-label="a &#34;b&#34;"' in picture
    paths = " ".join(re.findall(r' d="([^"]*)"', picture))
    heights = [float(y) for y in re.findall(r"[ML]-?[\d.]+ (-?[\d.]+)|V(-?[\d.]+)", paths) for y in y if y]
    assert len(heights) == 2 + 4 and all(0 <= y <= svg.HEIGHT for y in heights)
