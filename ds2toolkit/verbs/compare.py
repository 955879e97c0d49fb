"""Verb `compare`: experiments side by side, from their score files alone: which is better, where, and is it real?"""

from pathlib import Path

from ds2toolkit.errors import UserError
from ds2toolkit.files import write_text
from ds2toolkit.recipe import shown
from ds2toolkit.score import experiment, tables
from ds2toolkit.score.compare import compare
from ds2toolkit.score.experiment import Experiment

LAYOUTS = ("exp/*", "toy/exp/*", "*/exp/*", "*/toy/exp/*", "egs/*/exp/*", "egs/*/toy/exp/*")


def run(
    exps: list[Path],
    by: str,
    methods: list[str] | None,
    html: Path | None,
    markdown: Path | None,
    plot: Path | None,
) -> None:
    found = [load(path) for path in exps]
    if len({one.folder.resolve() for one in found}) < len(found):
        raise UserError("an experiment is named twice: " + " ".join(map(str, exps)))
    comparison = compare(experiment.models(found, methods), by)
    print(tables.terminal(comparison))
    if markdown:
        write_text(markdown, tables.markdown(comparison))
    if plot:
        from ds2toolkit.score.plot import draw

        draw(comparison, plot)
    if html:
        from ds2toolkit.score.page.build import write

        write(comparison, html)
    for path in (markdown, plot, html):
        if path:
            print(f"written: {shown(path)}")


def load(path: Path) -> Experiment:
    """The scores of an experiment folder (or of its score/). Raises UserError with the command that makes them."""
    for folder in (path / "score", path):
        if (folder / "score.json").exists():
            return rescored(folder)
    raise UserError(f"{shown(path)} has no score/score.json.\n{what_to_run(path)}")


def rescored(folder: Path) -> Experiment:
    try:
        return experiment.load(folder)
    except UserError as error:
        raise type(error)(f"{error}\n{what_to_run(folder.parent)}") from None


def what_to_run(path: Path) -> str:
    """The next stage of an experiment, by what its folder holds; without a recipe around it, the experiments near."""
    absolute = path.absolute()
    work = absolute.parent.parent
    for recipe, variant in ((work, None), (work.parent, work.name)):
        if absolute.parent.name == "exp" and (recipe / "recipe.yaml").exists():
            options = [f"--recipe {shown(recipe)}", *([f"--variant {variant}"] if variant else []), f"--exp {path.name}"]
            return f"Run: ds2 {next_verb(path)} {' '.join(options)}"
    near = sorted({file.parent.parent for layout in LAYOUTS for file in Path().glob(f"{layout}/score/score.json")})
    return f"Experiments with scores here: {', '.join(map(str, near)) or 'none'}"


def next_verb(path: Path) -> str:
    if any((path / "decode").glob("*/hyps-*.jsonl")):
        return "score"
    return "decode" if (path / "best.pt").exists() else "train"
