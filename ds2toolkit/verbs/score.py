"""Stage `score`: error rates of every decoded test set by condition, with intervals, as files and as a table."""

from pathlib import Path

from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.score.report import format_table, score


def run(recipe: Recipe, exp: str | None, model: Path | None = None) -> None:
    folder = recipe.experiment(exp, model) / "decode"
    recipe.need(folder, "decode", "score")
    files = hypothesis_files(folder)
    if not files:
        recipe.need(folder / "greedy" / "hyps.jsonl", "decode", "score")
    out = folder.with_name("score")
    print(format_table(score(files, out, recipe.config.unit)))
    print(f"recogs-, errs- and wer-summary- files and score.json in {shown(out)}")


def hypothesis_files(folder: Path) -> dict[str, dict[str, Path]]:
    """method -> set -> hypotheses, as `ds2 decode` wrote them: METHOD/hyps-SET.jsonl."""
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/hyps-*.jsonl")):
        files.setdefault(path.parent.name, {})[path.stem.removeprefix("hyps-")] = path
    return files
