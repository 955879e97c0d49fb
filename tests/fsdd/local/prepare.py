"""Free Spoken Digit Dataset: recordings/<digit>_<speaker>_<n>.wav, 8 kHz."""

import re
from pathlib import Path

from lhotse import CutSet

from ds2toolkit.data.corpus import Corpus
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

DIGITS = "zero one two three four five six seven eight nine".split()
ACCENTS = {"jackson": "american", "nicolas": "belgian-french", "george": "greek", "yweweler": "german"}
TEST_SPEAKER = "george"
DEV_TAKES = 5  # takes 0-4 of each digit, the corpus's own held-out takes
NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)")


def split_of(speaker: str, take: int) -> str:
    if speaker == TEST_SPEAKER:
        return "test"
    return "dev" if take < DEV_TAKES else "train"


def prepare(corpus_dir: Path, report: Report) -> dict[str, CutSet]:
    recordings = corpus_dir / "recordings"
    if not any(recordings.glob("[0-9]_*_*.wav")):
        raise DataError(
            f"no recordings/<digit>_<speaker>_<n>.wav in {corpus_dir}; "
            f"give the folder of the Free Spoken Digit Dataset that holds recordings/.\n{describe(corpus_dir)}."
        )
    corpus = Corpus(report)
    for path in sorted(recordings.glob("*.wav")):
        match = NAME.fullmatch(path.stem)
        if match is None:
            report.drop("train", path.stem, "name is not <digit>_<speaker>_<n>")
            continue
        digit, speaker, take = int(match[1]), match[2], int(match[3])
        split = split_of(speaker, take)
        if speaker not in ACCENTS:
            report.drop(split, path.stem, "speaker of unknown accent")
            continue
        corpus.add(split, path, path.stem, DIGITS[digit], speaker=speaker, condition=ACCENTS[speaker])
    return corpus.cuts()
