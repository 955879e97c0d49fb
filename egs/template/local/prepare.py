"""A corpus of WAV files and one table `utterances.tsv` (split, file, speaker, accent, text) as Lhotse cuts."""

from pathlib import Path

from lhotse import CutSet

from ds2toolkit.data.corpus import Corpus, read_lines
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

COLUMNS = 5


def prepare(corpus_dir: Path, report: Report) -> dict[str, CutSet]:
    """Split -> cuts; the condition is the speaker's accent. Raises DataError when there is no table."""
    table = corpus_dir / "utterances.tsv"
    if not table.is_file():
        raise DataError(f"no utterances.tsv in {corpus_dir}.\n{describe(corpus_dir)}.")
    corpus = Corpus(report)
    for line in read_lines(table):
        fields = line.split("\t")
        if len(fields) != COLUMNS:
            report.drop("-", "-", f"not {COLUMNS} columns", line)
            continue
        split, file, speaker, accent, text = fields
        corpus.add(split, corpus_dir / file, Path(file).stem, text, speaker, condition=accent)
    return corpus.cuts()
