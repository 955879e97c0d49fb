"""`ds2 results`: keep the scores of a recipe's experiments beside it, small, and write RESULTS.md from them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ds2toolkit import checkpoint
from ds2toolkit import recipe as recipes
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import TrainConfig, to_dict
from ds2toolkit.data.features import num_bins
from ds2toolkit.errors import ConfigError, DataError, UserError
from ds2toolkit.files import write_text
from ds2toolkit.model.size import num_parameters, solved
from ds2toolkit.recipe import PACKAGE_CONF, Recipe, shown
from ds2toolkit.score import results
from ds2toolkit.score.results import Result, Trained
from ds2toolkit.verbs import table
from ds2toolkit.verbs.size import layers


def run(recipe: Recipe, exps: list[str] | None) -> None:
    found = [(one, path) for one in variants(recipe) for path in experiments(one, exps)]
    check_all(recipe, exps, {path.name for _, path in found})
    kept = recipe.folder / "results"
    for one, folder in found:
        print(f"{shown(folder)} -> {shown(results.save(kept, result(one, folder)))}")
    path = recipe.folder / "RESULTS.md"
    write_text(path, results.render(recipe.name, recipes.load(recipe.folder).config.title, results.load(kept)))
    print(f"{shown(path)}: commit it together with {shown(kept)}")


def variants(recipe: Recipe) -> list[Recipe]:
    """The recipe and its variants; the one that was asked for alone."""
    if recipe.variant:
        return [recipe]
    names = recipes.read_yaml(recipe.folder / "recipe.yaml").get("variants", {})
    return [recipe, *(recipes.load(recipe.folder, name) for name in names)]


def experiments(recipe: Recipe, exps: list[str] | None) -> list[Path]:
    """The folders of those that are scored."""
    scored = [path.parent.parent for path in sorted(recipe.work.glob("exp/*/score/score.json"))]
    return [folder for folder in scored if exps is None or folder.name in exps]


def check_all(recipe: Recipe, exps: list[str] | None, found: set[str]) -> None:
    """Raises UserError for an experiment that was asked for and is not scored, or where none is."""
    for name in exps or ([] if found else ["ds2"]):
        if name not in found:
            path = recipe.experiment(name) / "score" / "score.json"
            recipe.need(path, "score", f"results{' of ' + name if exps else ''}")


def result(recipe: Recipe, folder: Path) -> Result:
    path = folder / "score" / "score.json"
    try:
        score = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(f"{shown(path)} is damaged.\nRun: {recipe.stage('score')}") from None
    facts = trained(recipe, folder) if (folder / "best.pt").exists() else None
    return Result(folder.name, recipe.variant, score, facts, rows(recipe, folder.name))


def rows(recipe: Recipe, name: str) -> tuple[str, ...]:
    """The rows of the paper's tables that the experiment measures."""
    if not name.startswith("paper-"):
        return ()
    return tuple(conf for conf, exp in table.experiments(recipe, recipe.is_toy).items() if exp == name)


def trained(recipe: Recipe, folder: Path) -> Trained:
    recogniser, state = checkpoint.load(folder / "best.pt")
    config = recogniser.training
    configuration, settings = named(recipe, recogniser)
    lines = history(folder / "history.jsonl")
    return Trained(
        network=f"{layers(config.model)}, width {config.model.rnn_size}",
        num_parameters=num_parameters(recogniser.model),
        configuration=configuration,
        settings=tuple(settings),
        num_epochs=len(lines) or config.num_epochs,
        seconds=round(lines[-1]["seconds"]) if lines else None,
    )


def history(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def named(recipe: Recipe, recogniser: Recogniser) -> tuple[str, list[str]]:
    """The configuration that a run was trained with, and the settings laid over it.

    Its name where some has just its settings, the recipe's own first; else the recipe's own and what differs from it.
    """
    name = next((name for name in configurations(recipe) if same(recipe.training(name, []), recogniser)), None)
    if name:
        return name, []
    base = to_dict(recipe.training(None, []))
    return recipe.config.conf, list(differences(base, to_dict(recogniser.training)))


def configurations(recipe: Recipe) -> Iterator[str]:
    """The names of those that the recipe can be trained with."""
    own = sorted(path.stem for path in (recipe.folder / "conf").glob("*.yaml"))
    others = sorted(path.relative_to(PACKAGE_CONF).with_suffix("").as_posix() for path in PACKAGE_CONF.rglob("*.yaml"))
    yield from dict.fromkeys([recipe.config.conf, *own, *others])


def same(config: TrainConfig, recogniser: Recogniser) -> bool:
    """Whether it is what the model was trained with; the width, which takes longer to find, is looked at last."""
    theirs = recogniser.training
    narrow = replace(config, model=replace(config.model, rnn_size=theirs.model.rnn_size, params=None))
    return narrow == theirs and widened(config, recogniser) == theirs


def widened(config: TrainConfig, recogniser: Recogniser) -> TrainConfig:
    """With a width in place of a number of parameters, for this model's features and outputs."""
    try:
        return replace(config, model=solved(config.model, num_bins(recogniser.features), len(recogniser.vocabulary.tokens)))
    except ConfigError:
        return config  # a row of the paper that these outputs are too many for


def differences(base: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """`section.key=value` of each setting of `other` that `base` has otherwise."""
    for key, value in other.items():
        if isinstance(value, dict):
            yield from differences(base[key], value, f"{prefix}{key}.")
        elif value != base[key]:
            yield f"{prefix}{key}={json.dumps(value)}"
