"""`ds2 table`: the paper's tables with a measured column, and the training runs that fill it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from ds2toolkit import recipe as recipes
from ds2toolkit.config import override
from ds2toolkit.errors import UserError
from ds2toolkit.recipe import PACKAGE_CONF, Recipe, conf_path, read_conf, shown
from ds2toolkit.score import paper_tables, results
from ds2toolkit.score.paper_tables import BENCHMARKS, CONFIGURATIONS, IN_SMALL, PARAMS_DIVISOR, Cells

CHANNELS_DIVISOR = {"1d": 16, "2d": 8}  # few enough that most parameters stay in the recurrent layers, as in the paper


def run(folder: Path, variant: str | None, tables: list[str], toy: bool, train: bool, as_list: bool) -> None:
    if BENCHMARKS in tables and (train or as_list):
        raise UserError("the benchmarks are the test sets of recipes, not configurations.\nRun: bash egs/RECIPE/run.sh --help")
    if BENCHMARKS in tables:
        print(benchmarks(folder, toy) + "\n" * (len(tables) > 1))
    if configurations := [name for name in tables if name != BENCHMARKS]:
        recipe = recipes.load(folder, toy_variant(variant) if toy else variant)
        named = experiments(recipe, toy)
        wanted = dict.fromkeys(named[row.conf] for name in configurations for row in paper_tables.rows(name))
        missing = [name for name in wanted if not score_file(recipe, name).exists()]
        if as_list:
            print("\n".join(" && ".join(map(shlex.join, commands(recipe, name, toy))) for name in missing))
            return
        if train:
            fill(recipe, missing, toy)
        print("\n\n".join(measured_table(recipe, name, named, toy) for name in configurations))


def toy_variant(variant: str | None) -> str:
    """`toy`, or the variant's own toy: `bpe-toy` for `bpe`."""
    if (variant or "").split("-")[-1] == "toy":
        return str(variant)
    return f"{variant}-toy" if variant else "toy"


def experiments(recipe: Recipe, toy: bool) -> dict[str, str]:
    """The experiment of each row. Rows that are the same training run, as `norm-on` and `depth` are, share the first one's."""
    every = {row.conf: settled(recipe, row.conf) for name in CONFIGURATIONS for row in paper_tables.rows(name)}
    first = {conf: next(other for other in every if every[other] == raw) for conf, raw in every.items()}
    return {conf: other.replace("paper/", "paper-toy-" if toy else "paper-") for conf, other in first.items()}


def settled(recipe: Recipe, conf: str) -> dict[str, Any]:
    folder = recipe.folder / "conf"
    return read_conf(conf_path(conf, folder), folder)


def score_file(recipe: Recipe, name: str) -> Path:
    return recipe.experiment(name) / "score" / "score.json"


def commands(recipe: Recipe, name: str, toy: bool) -> list[list[str]]:
    """What trains, decodes and scores the experiment of a row."""
    conf = name.replace("paper-toy-" if toy else "paper-", "paper/")
    where = ["--recipe", str(shown(recipe.folder)), *(["--variant", recipe.variant] if recipe.variant else []), "--exp", name]
    settings = [part for setting in (smaller(settled(recipe, conf)) if toy else []) for part in ("--set", setting)]
    return [
        ["ds2", "train", *where, "--conf", conf, *settings],
        ["ds2", "decode", *where, "--methods", "greedy"],
        ["ds2", "score", *where],
    ]


def smaller(raw: dict[str, Any]) -> list[str]:
    """The settings that make a row a toy: its sizes divided, so that rows keep their ratios, and paper-toy.yaml."""
    model, conv = raw["model"], raw["model"]["conv"]
    channels = [num // CHANNELS_DIVISOR[conv.get("kind", "2d")] for num in conv["channels"]]
    settings = {"model.params": float(model["params"]) / PARAMS_DIVISOR, "model.conv.channels": channels}
    settings |= read_conf(PACKAGE_CONF / "paper-toy.yaml")
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def fill(recipe: Recipe, names: list[str], toy: bool) -> None:
    """Train, decode and score what is missing, one after the other; a row that fails does not stop the others.

    Raises UserError that names those that failed.
    """
    recipe.need(recipe.featured_cuts(recipe.config.splits.train[0]), "features", "table --run")
    recipe.need(recipe.lang / "tokens.txt", "lang", "table --run")
    failed = []
    for number, name in enumerate(names, start=1):
        print(f"{number} of {len(names)}: {name}", flush=True)
        if not all(succeeds(command) for command in commands(recipe, name, toy)):
            failed.append(name)
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} failed: {', '.join(failed)}.\nRun the same command to try them again.")


def succeeds(command: list[str]) -> bool:
    print(f"    {shlex.join(command)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "ds2toolkit", *command[1:]], check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    return code == 0


def measured_table(recipe: Recipe, table: str, named: dict[str, str], toy: bool) -> str:
    paths = {row.conf: score_file(recipe, named[row.conf]) for row in paper_tables.rows(table)}
    measured = {conf: paper_tables.read_cells(path, "greedy") for conf, path in paths.items() if path.exists()}
    return paper_tables.format_configurations(table, measured, remark(recipe, table, len(paths) - len(measured), toy))


def remark(recipe: Recipe, table: str, num_missing: int, toy: bool) -> str:
    """What was measured on what, and how to measure the rest."""
    speech = f"toy speech, synthetic ({recipe.name})" if recipe.is_toy else recipe.config.title
    small = f"\n{IN_SMALL}" if toy else ""
    missing = f"\n{num_missing} rows are not measured; --run trains them, --list prints the commands." if num_missing else ""
    return f"Measured: greedy, on the test sets of {speech}; [95% interval].{small}{missing}"


def benchmarks(folder: Path, toy: bool) -> str:
    speech = "toy speech, synthetic, in the layout of those corpora: compare its columns with each other alone"
    return paper_tables.format_benchmarks(
        measured_benchmarks(folder, toy),
        f"Measured: {speech if toy else 'the experiments of the recipes'}; [95% interval] and method of decoding.",
    )


def measured_benchmarks(folder: Path, toy: bool) -> dict[str, dict[str, Cells]]:
    """recipe -> experiment -> cells, of the recipes below a folder or beside it: from score files, else from those kept."""
    beside = Path(folder).absolute().parent if (folder / "recipe.yaml").exists() else folder
    found: dict[str, dict[str, Cells]] = {}
    for path in recipes.find(beside) or recipes.find(beside / "egs"):
        kept = [one for one in results.load(path / "results") if one.variant == ("toy" if toy else None)]
        cells = {one.experiment: paper_tables.cells(one.score) for one in kept}
        for score in sorted((path / "toy" if toy else path).glob("exp/*/score/score.json")):
            cells[score.parent.parent.name] = paper_tables.read_cells(score)
        found[path.name] = cells
    return found
