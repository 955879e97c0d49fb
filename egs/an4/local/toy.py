"""Writes a made-up AN4, spoken by espeak-ng: its layout, NIST SPHERE files, both transcription styles."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from ds2toolkit.files import whole_folder
from ds2toolkit.toy.grammar import census_line, distinct, spoken
from ds2toolkit.toy.speech import Voice
from ds2toolkit.toy.studio import Setting, Take, write_all

SIZES = {"train": 600, "test": 80}
FOLDERS = {"train": "an4_clstk", "test": "an4test_clstk"}
SPEAKERS = {
    "train": "fabc:f1 fbcd:f2 fcde:f4 fdef:Annie fefg:linda ffgh:steph fghi:aunty fhij:belinda "
    "mabc:m1 mbcd:m2 mcde:m3 mdef:m4 mefg:m6 mfgh:m7 mghi:rob mhij:paul mijk:john mjkl:quincy mklm:zac "
    "mlmn:Gene",
    "test": "fxyz:f5 fyza:f3 mxyz:m5 myza:robert",
}
CALM = Setting("pink", snr_db=30.0, rt60_s=0.15)
FILLERS = "<s>             SIL\n</s>            SIL\n<sil>           SIL\n"


def toy(corpus_dir: Path, seed: int = 0, sizes: Mapping[str, int] = SIZES) -> None:
    """Write `corpus_dir`/an4, whole or not at all; a corpus that is there already stays as it is.

    sizes: utterances of "train" and "test", which share neither speakers nor texts. One seed, the same bytes.
    """
    if (corpus_dir / "an4").exists():
        return
    rng = np.random.default_rng(seed)
    with whole_folder(corpus_dir / "an4") as root:
        (root / "etc").mkdir()
        (root / "etc" / "an4.filler").write_text(FILLERS, encoding="utf-8")
        train = [census_line(rng) for _ in range(sizes["train"])]
        test = islice((line for line in distinct(census_line, rng) if line not in train), sizes["test"])
        readings = [*plan(root, "train", train, rng), *plan(root, "test", test, rng)]
        write_all([take for _, take in readings], "speaking a toy AN4")
        for part in sizes:
            write_lists(root, part, readings)


def plan(root: Path, part: str, lines: Iterable[str], rng: np.random.Generator) -> Iterator[tuple[str, Take]]:
    """What each speaker of a part says, in turn: the transcript, and how it is recorded."""
    voices = dict(pair.split(":") for pair in SPEAKERS[part].split())
    for index, line in enumerate(lines):
        speaker = list(voices)[index % len(voices)]
        speed_wpm, pitch, *seed = (int(x) for x in rng.integers((135, 42, 0, 0), (166, 59, 2**32, 2**32)))
        voice = Voice("american", voices[speaker], speed_wpm, pitch)
        path = root / "wav" / FOLDERS[part] / speaker / f"an{index + 1}-{speaker}-b.sph"
        yield line, Take(path, spoken(line), voice, CALM, tuple(seed))


def write_lists(root: Path, part: str, readings: list[tuple[str, Take]]) -> None:
    mine = [(line, take.path) for line, take in readings if take.path.parts[-3] == FOLDERS[part]]
    style = "<s> {} </s> ({})\n" if part == "train" else "{} ({})\n"
    fileids = "".join(f"{path.relative_to(root / 'wav').with_suffix('')}\n" for _, path in mine)
    transcripts = "".join(style.format(line, path.stem) for line, path in mine)
    (root / "etc" / f"an4_{part}.fileids").write_text(fileids, encoding="utf-8")
    (root / "etc" / f"an4_{part}.transcription").write_text(transcripts, encoding="utf-8")
