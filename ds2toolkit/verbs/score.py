"""Stage `score`: error rates of every decoded test set by condition, with intervals, as files and as a table."""

import shlex
from pathlib import Path

from ds2toolkit.recipe import Recipe, origin, shown
from ds2toolkit.score import origin as origins
from ds2toolkit.score.environment import environment
from ds2toolkit.score.ratios import noisier
from ds2toolkit.score.report import format_table, score


def run(recipe: Recipe, exp: str | None, model: Path | None = None) -> None:
    experiment = recipe.experiment(exp, model)
    folder = experiment / "decode"
    recipe.need(folder, "decode", "score")
    files = hypothesis_files(folder)
    if not files:
        recipe.need(folder / "greedy" / "hyps.jsonl", "decode", "score")
    out = folder.with_name("score")
    known = {
        "recipe": recipe.name,
        "variant": recipe.variant,
        "experiment": experiment.name,
        "model": origin(model) if model else origin(experiment),
        "command": command(recipe, exp, model),
        **environment(),
    }
    print(format_table(score(files, out, recipe.config.unit, origins.origin(folder, **known))))
    print(f"recogs-, errs- and wer-summary- files and score.json in {shown(out)}")


def command(recipe: Recipe, exp: str | None, model: Path | None) -> str:
    """The command that repeats this."""
    options = {"--recipe": shown(recipe.folder), "--variant": recipe.variant, "--exp": exp, "--model": model}
    return shlex.join(["ds2", "score", *(str(part) for pair in options.items() if pair[1] for part in pair)])


def hypothesis_files(folder: Path) -> dict[str, dict[str, Path]]:
    """method -> set -> hypotheses, as `ds2 decode` wrote them: METHOD/hyps-SET.jsonl."""
    methods: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/hyps-*.jsonl")):
        methods.setdefault(path.parent.name, {})[path.stem.removeprefix("hyps-")] = path
    return {method: {name: files[name] for name in sorted(files, key=noisier)} for method, files in methods.items()}
