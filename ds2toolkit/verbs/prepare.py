"""Stage `prepare`: the corpus as Lhotse cuts, one file a split, and a report of what was dropped and why."""

from pathlib import Path

from lhotse import CutSet

from ds2toolkit.data import convert
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.verbs.download import link


def run(recipe: Recipe, corpus_dir: Path | None, num_jobs: int, options: list[str]) -> None:
    if corpus_dir is not None:
        link(recipe, corpus_dir)
    recipe.need(recipe.corpus, "download", "prepare")
    report = Report()
    splits = read(recipe.with_options(options), recipe.corpus.resolve(), recipe.data, report)
    counts = {name: write_split(recipe, name, cuts, report, num_jobs) for name, cuts in splits.items()}
    report.write(recipe.data / "report.txt")
    for name, (num_utterances, hours) in counts.items():
        print(f"{name:20} {num_utterances:8,d} utterances {hours:9.2f} hours")
    if dropped := sum(report.counts().values()):
        print(f"dropped {dropped} utterances: {shown(recipe.data / 'report.txt')} says which and why")
    print("\n".join(report.notes), end="\n" if report.notes else "")
    if missing := [name for name in recipe.config.splits if name not in splits and name not in recipe.config.splits.noisy]:
        print(f"not in this copy of the corpus: {', '.join(missing)} (prepare() found: {', '.join(splits)})")


def read(recipe: Recipe, corpus: Path, folder: Path, report: Report) -> dict[str, CutSet]:
    """What the recipe's prepare() makes of a corpus: split -> cuts. folder: where it may unpack archives."""
    if not hasattr(recipe.preparer, "prepare"):
        raise UserError(f"{shown(recipe.folder / 'local' / 'prepare.py')} has no function prepare(corpus_dir, report)")
    return recipe.call(recipe.preparer.prepare, corpus, report, scratch=folder / "unpacked")


def write_split(recipe: Recipe, name: str, cuts: CutSet, report: Report, num_jobs: int) -> tuple[int, float]:
    """Convert, check and write one split; returns its number of utterances and its hours."""
    converted = convert.to_flac(name, cuts, recipe.data / "audio", num_jobs, report)
    kept = checker(recipe, name).check(converted, report, num_jobs)
    if not kept:
        raise DataError(f"no utterance of the split {name} can be used: {dict(report.counts())}")
    cut_files.write(kept, recipe.cuts(name))
    return len(kept), sum(cut.duration for cut in kept) / 3600


def checker(recipe: Recipe, split: str) -> cut_files.Checker:
    testing = split in recipe.config.splits.test
    return cut_files.Checker(split, testing, recipe.config.language, recipe.config.features)
