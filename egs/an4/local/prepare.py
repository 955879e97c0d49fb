"""AN4 (CMU's census data) in its original an4_sphere layout as Lhotse cuts."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from lhotse import CutSet

from ds2toolkit.data.archive import unpack
from ds2toolkit.data.corpus import Corpus, read_lines
from ds2toolkit.data.fetch import explained, fetch_first
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

MIRRORS = (
    "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz",
    "https://dldata-public.s3.us-east-2.amazonaws.com/an4_sphere.tar.gz",
)
TRANSCRIPT = re.compile(r"(?P<text>.*?)\s*\((?P<name>[^()\s]+)\)")
MARKER = re.compile(r"</?s>|<sil>", re.IGNORECASE)
GENDERS = {"f": "female", "m": "male"}
NUM_DEV_SPEAKERS_A_GENDER = 2


def prepare(corpus_dir: Path, report: Report) -> dict[str, CutSet]:
    """The splits train, dev and test of `corpus_dir` (the folder with etc/ and wav/, or the one above).

    AN4 has no dev set: dev is two women and two men of the training speakers, last in the alphabet each
    (51 of the 948 utterances). The condition is the speaker's gender, told by the first letter of the name.
    What can't be used goes to the report. Raises DataError when the folder is not AN4.
    """
    root = find_root(Path(corpus_dir))
    fileids = {part: read_lines(root / f"etc/an4_{part}.fileids") for part in ("train", "test")}
    held_out = dev_speakers({speaker(fileid) for fileid in fileids["train"]})
    corpus = Corpus(report)
    for part, listed in fileids.items():
        texts = read_transcripts(root / f"etc/an4_{part}.transcription", part, report)
        for fileid in listed:
            split = "dev" if part == "train" and speaker(fileid) in held_out else part
            add(corpus, split, root / "wav" / f"{fileid}.sph", texts)
        for name in sorted(texts.keys() - {Path(fileid).name for fileid in listed}):
            report.drop(part, name, "not in the list of files", f"an4_{part}.fileids")
    return corpus.cuts()


def find_root(corpus_dir: Path) -> Path:
    landmark = "etc/an4_train.fileids"
    for root in (corpus_dir, corpus_dir / "an4"):
        if (root / landmark).is_file():
            return root
    raise DataError(
        f"no AN4 in {corpus_dir}: looked for {landmark} there and in its an4/.\n{describe(corpus_dir)}."
    )


def speaker(fileid: str) -> str:
    """`an4_clstk/fash/an251-fash-b` was spoken by `fash`."""
    return Path(fileid).parent.name


def dev_speakers(speakers: set[str]) -> set[str]:
    """The last two speakers of each gender; one or none where that would take more than half of them."""
    held_out: set[str] = set()
    for initial in GENDERS:
        same = sorted(name for name in speakers if name.startswith(initial))
        held_out |= set(same[-min(NUM_DEV_SPEAKERS_A_GENDER, len(same) // 2) :]) if len(same) > 1 else set()
    return held_out


def read_transcripts(path: Path, part: str, report: Report) -> dict[str, str]:
    """Texts by id, from lines `<s> TEXT </s> (id)` as in training or `TEXT (id)` as in the test set."""
    texts: dict[str, str] = {}
    for line in read_lines(path):
        match = TRANSCRIPT.fullmatch(line)
        if match is None:
            report.drop(part, "-", "malformed transcript", line)
        elif match["name"] in texts:
            report.drop(part, match["name"], "second transcript", line)
        else:
            texts[match["name"]] = " ".join(MARKER.sub(" ", match["text"]).split())
    return texts


def add(corpus: Corpus, split: str, path: Path, texts: dict[str, str]) -> None:
    name, who = path.stem, path.parent.name
    gender = GENDERS.get(who[:1])
    if name not in texts:
        corpus.report.drop(split, name, "no transcript", str(path))
    else:
        corpus.add(split, path, name, texts[name], who, condition=gender, gender=gender)


def download(corpus_dir: Path, splits: Sequence[str]) -> None:
    """Fetch an4_sphere.tar.gz from the first mirror that has it and unpack it to `corpus_dir`/an4, whole.

    All splits come in the one archive. Raises UserError when no mirror answers.
    """
    if (corpus_dir / "an4").exists():
        return
    archive, staging = corpus_dir / "an4_sphere.tar.gz", corpus_dir / "an4.unpacked"
    fetch_first(MIRRORS, archive)
    try:
        with explained("a whole an4_sphere.tar.gz"):
            (unpack(archive, staging) / "an4").replace(corpus_dir / "an4")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        archive.unlink()
