"""THCHS-30 (OpenSLR 18) as Lhotse cuts: all audio and text in data/, the splits as folders of links to it."""

import re
from pathlib import Path

from lhotse import CutSet
from tqdm import tqdm

from ds2toolkit.data.corpus import Corpus
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

TITLE, NAME = "THCHS-30", "data_thchs30"
LANDMARK = "data/*.wav.trn"
URL = "http://www.openslr.org/resources/18"
ARCHIVES = {"data_thchs30.tgz": (6_453_425_169, "2d2252bde5c8429929e1841d4cb95e90")}  # size in bytes, md5
SPLITS = ("train", "dev", "test")
STRAY = re.compile(r" l =(?= |$)")  # in B11_374: 分别 判处 l = 六年


def read(root: Path, home: Path, report: Report, scratch: Path) -> dict[str, CutSet]:
    """The splits of `root`, the folder data_thchs30.

    Of train/, dev/ and test/ only the names are believed: what stands there are links, or text files that
    hold the path of one. The noisy copies in test-noise/ are not read. Raises DataError without splits.
    """
    names = {split: listed(root / split) for split in SPLITS}
    if not any(names.values()):
        raise DataError(f"{root} has no splits: looked for train/, dev/ and test/ there.\n{describe(root)}.")
    corpus = Corpus(report)
    for split, ids in names.items():
        for name in tqdm(sorted(ids), desc=f"reading {split}", unit="utt", leave=False, disable=None):
            add(corpus, split, root / "data" / f"{name}.wav")
    for name in sorted(listed(root / "data").difference(*names.values())):
        report.drop("-", name, "in no split", str(root / "data" / f"{name}.wav"))
    return corpus.cuts()


def listed(folder: Path) -> set[str]:
    """The utterances that a folder names by `A11_0.wav` or `A11_0.wav.trn`."""
    names = [path.name.removesuffix(".trn") for path in folder.iterdir()] if folder.is_dir() else []
    return {name.removesuffix(".wav") for name in names if name.endswith(".wav")}


def add(corpus: Corpus, split: str, path: Path) -> None:
    transcript = path.with_name(f"{path.name}.trn")
    if not transcript.is_file():
        corpus.report.drop(split, path.stem, "no transcript", str(transcript))
        return
    raw = first_line(transcript)
    text = STRAY.sub("", raw)
    speaker = path.stem.partition("_")[0]
    taken = corpus.add(split, path, path.stem, text, speaker, language="Chinese", raw_text=raw)
    if taken and text != raw:
        corpus.report.notes.append(f"{path.stem}: took a stray ` l =` out of its transcript")


def first_line(transcript: Path) -> str:
    """The words; pinyin and phones stand below."""
    return transcript.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
