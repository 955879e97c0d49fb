"""Writes a made-up corpus in the template's layout, spoken by espeak-ng."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from ds2toolkit.files import whole_folder
from ds2toolkit.toy.grammar import distinct, sentence
from ds2toolkit.toy.speech import Voice
from ds2toolkit.toy.studio import Setting, Take, write_all

SIZES = {"train": 800, "dev": 40, "test": 80}
SPEAKERS = {
    "train": "american:f1 american:m1 british:f2 british:m2 american:f4 british:m3 american:m4 british:Annie",
    "dev": "american:f3 british:m6",
    "test": "american:f5 british:m5 american:m7 british:linda",
}
ROOM = Setting("pink", snr_db=30.0, rt60_s=0.15)


def toy(corpus_dir: Path, seed: int = 0, sizes: Mapping[str, int] = SIZES) -> None:
    """Write the table and `wav/` into `corpus_dir`, once; speakers and texts of a split occur in no other."""
    if (corpus_dir / "utterances.tsv").exists():
        return
    texts = distinct(sentence, np.random.default_rng(seed))
    with whole_folder(corpus_dir) as root:
        rows, takes = [], []
        for split, size in sizes.items():
            for number, text in enumerate(islice(texts, size)):
                speaker = SPEAKERS[split].split()[number % len(SPEAKERS[split].split())]
                accent, _, variant = speaker.partition(":")
                file = f"wav/{split}-{number:04d}.wav"
                rows.append(f"{split}\t{file}\t{variant}\t{accent}\t{text}\n")
                takes.append(Take(root / file, text, Voice(accent, variant), ROOM, seed=(seed, number)))
        write_all(takes, "speaking a toy corpus")
        (root / "utterances.tsv").write_text("".join(rows), encoding="utf-8")
