"""Stage `prepare`: the corpus as Lhotse cuts, one file a split, and a report of what was dropped and why."""

from pathlib import Path

from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.verbs.download import link
from ds2toolkit.verbs.lang import vocabulary


def run(recipe: Recipe, corpus_dir: Path | None, num_jobs: int) -> None:
    if corpus_dir is not None:
        link(recipe, corpus_dir)
    recipe.need(recipe.corpus, "download", "prepare")
    report = Report()
    splits = recipe.preparer.prepare(recipe.corpus, report)
    counts = {name: write_split(recipe, name, cuts, report, num_jobs) for name, cuts in splits.items()}
    report.write(recipe.data / "report.txt")
    for name, (num_utterances, hours) in counts.items():
        print(f"{name:20} {num_utterances:8,d} utterances {hours:9.2f} hours")
    if dropped := sum(report.counts().values()):
        print(f"dropped {dropped} utterances: {shown(recipe.data / 'report.txt')} says which and why")
    print("\n".join(report.notes), end="\n" if report.notes else "")
    if missing := [name for name in recipe.config.splits if name not in splits]:
        print(f"not in this copy of the corpus: {', '.join(missing)}")


def write_split(recipe: Recipe, name: str, cuts, report: Report, num_jobs: int) -> tuple[int, float]:
    """Check and write one split; returns its number of utterances and its hours."""
    config = recipe.config
    checker = cut_files.Checker(
        split=name,
        testing=name in config.splits.test,
        language=config.language,
        vocabulary=vocabulary(),
        features=config.features,
    )
    kept = checker.check(cuts, report, num_jobs)
    if not kept:
        raise DataError(f"no utterance of the split {name} can be used: {dict(report.counts())}")
    cut_files.write(kept, recipe.cuts(name))
    return len(kept), sum(cut.duration for cut in kept) / 3600
