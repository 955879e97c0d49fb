"""LibriSpeech (OpenSLR 12) and mini-LibriSpeech (31) as Lhotse cuts, through Lhotse's own recipe."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lhotse import CutSet
from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH, download_librispeech, parse_utterance
from tqdm import tqdm

from ds2toolkit.data.corpus import Corpus, read_lines
from ds2toolkit.data.fetch import explained, fetch
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

SUBSETS = (*LIBRISPEECH, *MINI_LIBRISPEECH)
LM_URL = "http://www.openslr.org/resources/11"
LM_NUM_BYTES = {"3-gram.pruned.1e-7.arpa.gz": 34_094_057, "librispeech-lexicon.txt": 5_627_653}
GENDERS = {"F": "female", "M": "male"}


def prepare(corpus_dir: Path, report: Report) -> dict[str, CutSet]:
    """Every subset in `corpus_dir` (LibriSpeech itself, or the folder that holds it): subset -> cuts.

    The condition is the chapter's line in CONDITIONS.TXT (`chapter_id | condition`) where there is that file,
    else the reader's gender. What can't be used goes to the report. Raises DataError when there is no subset.
    """
    root = find_root(Path(corpus_dir))
    genders = {reader: GENDERS.get(sex) for reader, sex, *_ in read_table(root / "SPEAKERS.TXT", 5)}
    conditions = {chapter: condition for chapter, condition in read_table(root / "CONDITIONS.TXT", 2)}
    corpus = Corpus(report)
    for split in subsets(root):
        for recording, supervision in read_subset(root, split, corpus):
            reader, chapter, *_ = supervision.id.split("-")
            supervision.gender = genders.get(reader)
            if condition := conditions.get(chapter) or supervision.gender:
                supervision.custom = {"condition": condition}
            corpus.add_supervised(split, recording, supervision)
    return corpus.cuts()


def find_root(corpus_dir: Path) -> Path:
    for root in (corpus_dir / "LibriSpeech", corpus_dir):
        if subsets(root):
            return root
    found = (
        "That is one subset: name the folder above it" if corpus_dir.name in SUBSETS else describe(corpus_dir)
    )
    raise DataError(
        f"no LibriSpeech in {corpus_dir}: looked there and in its LibriSpeech/ for "
        f"SUBSET/READER/CHAPTER/*.trans.txt (SUBSET: train-clean-100, test-other and the like).\n{found}."
    )


def subsets(root: Path) -> list[str]:
    return [name for name in SUBSETS if any((root / name).rglob("*.trans.txt"))]


def read_table(path: Path, num_columns: int) -> Iterator[list[str]]:
    """Rows of one of the corpus's `|` tables, its comments left out; none when the copy lacks the file."""
    for line in read_lines(path) if path.exists() else ():
        if not line.startswith(";"):
            fields = [field.strip() for field in line.split("|", num_columns - 1)]
            if len(fields) != num_columns:
                raise DataError(f"{path}: expected {num_columns} columns between |, found {line!r}")
            yield fields


def read_subset(root: Path, split: str, corpus: Corpus) -> Iterator[tuple]:
    """Lhotse's recording and supervision of each usable utterance of a subset.

    Line by line: Lhotse's recipe as a whole ends at the first damaged line or file and is silent about
    transcripts without audio and audio without transcripts; here each of them is reported.
    """
    transcribed = set()
    for line in tqdm(list(transcript_lines(root / split)), desc=f"reading {split}", unit="utt", leave=False, disable=None):
        name, _, text = line.partition(" ")
        path = root / split / Path(name.replace("-", "/")).parent / f"{name}.flac"
        transcribed.add(path)
        if not text:
            corpus.report.drop(split, name, "empty transcript")
        elif corpus.usable(split, path.absolute(), name):
            yield parse_utterance((root / split).absolute(), line, {})
    for path in sorted(set((root / split).rglob("*.flac")) - transcribed):
        corpus.report.drop(split, path.stem, "no transcript", str(path))


def transcript_lines(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.trans.txt")):
        yield from read_lines(path)


def download(corpus_dir: Path, splits: Sequence[str]) -> None:
    """Fetch subsets into `corpus_dir`/LibriSpeech.

    A subset is unpacked elsewhere and moved when it is whole. Raises UserError when network or disk fail.
    """
    for split in splits:
        if not (corpus_dir / "LibriSpeech" / split).exists():
            download_subset(corpus_dir, split)


def download_lm(folder: Path) -> None:
    """Fetch the language model and the lexicon of OpenSLR 11. Raises UserError when network or disk fail."""
    for name, num_bytes in LM_NUM_BYTES.items():
        fetch(f"{LM_URL}/{name}", folder / name, num_bytes)


def download_subset(corpus_dir: Path, split: str) -> None:
    staging = corpus_dir / "LibriSpeech.part"
    with explained(f"LibriSpeech's {split} from OpenSLR"):
        unpacked = download_librispeech(staging, [split])
        root = corpus_dir / "LibriSpeech"
        root.mkdir(exist_ok=True)
        for path in [*unpacked.glob("*.TXT"), unpacked / split]:
            path.replace(root / path.name)
        (staging / f"{split}.tar.gz").unlink()
