"""Writes a made-up VoxForge, spoken by espeak-ng in the accents that DS2 compares: its tree, and all its dirt."""

import gzip
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from ds2toolkit.files import whole_folder
from ds2toolkit.recipe import sibling
from ds2toolkit.toy.grammar import distinct, sentence
from ds2toolkit.toy.speech import SAMPLE_RATE_HZ
from ds2toolkit.toy.studio import Take, write_all, write_samples

people = sibling(__file__, "toy_cast")
papers = sibling(__file__, "toy_papers")

SIZES = {"train": 900, "dev": 60, "test": 240}
NO_AUDIO, BROKEN = "LunaTick-20080329-vf1", "torn-20090704-cut"
GHOST = {"z0001": "nobody has recorded this"}


def toy(corpus_dir: Path, seed: int = 0, sizes: Mapping[str, int] = SIZES) -> None:
    """Write `corpus_dir`/Main/16kHz_16bit, whole or not at all; a corpus that is there already stays as it is.

    sizes: good utterances a split; the damaged ones come on top. One seed, the same bytes.
    """
    if (corpus_dir / "Main").exists():
        return
    with whole_folder(corpus_dir / "Main") as main:
        root = main / "16kHz_16bit"
        readings = plan(root, seed, sizes)
        write_all([take for _, take in readings], "speaking a toy VoxForge")
        texts = defaultdict(dict)
        for sitting, take in readings:
            texts[sitting][take.path.stem] = take.text
        for sitting, said in texts.items():
            papers.write(sitting, root / sitting.folder, said | damaged(sitting, root / sitting.folder))
        finish(root, list(texts))


def plan(root: Path, seed: int, sizes: Mapping[str, int]) -> list[tuple[people.Sitting, Take]]:
    """Every good utterance. The sittings of a split take turns; the first few only, where there are few utterances."""
    texts, readings = distinct(sentence, np.random.default_rng(seed)), []
    cast = list(enumerate(people.cast(seed)))
    for split in sorted(sizes):
        sittings = [(place, one) for place, one in cast if one.split == split][: sizes[split]]
        for number, text in enumerate(islice(texts, sizes[split])):
            (place, one), turn = sittings[number % len(sittings)], number // len(sittings)
            kind = "flac" if one.quirk == "flac" else "wav"
            path = root / one.folder / kind / f"{one.prompt_list}{turn + 1:04d}.{kind}"
            voice = replace(one.voice, speed_wpm=one.voice.speed_wpm + 5 * (turn % 3 - 1))
            readings.append((one, Take(path, text, voice, one.setting, seed=(seed, place, turn))))
    return readings


def damaged(sitting: people.Sitting, folder: Path) -> dict[str, str]:
    """Write what is no good in a submission; returns the prompts that it has besides."""
    if sitting.quirk == "anonymous":
        return GHOST  # and no recording
    if sitting.quirk == "original prompts":
        (folder / "wav" / "z0001.wav").touch()
        return GHOST
    if sitting.quirk == "new application":
        silence = np.zeros(SAMPLE_RATE_HZ, np.int16)
        write_samples(folder / "wav" / "z0001.wav", silence)
        write_samples(folder / "wav" / "z0002.wav", silence + 1)  # and no prompt
        return GHOST
    return {}


def finish(root: Path, sittings: list[people.Sitting]) -> None:
    """Pack every other submission, one of them beside its folder; add one without audio and a torn archive."""
    papers.write(replace(sittings[0], user="LunaTick", folder=NO_AUDIO, quirk=""), root / NO_AUDIO, GHOST)
    for sitting in sittings:
        if sitting.packed:
            ending = "tar.gz" if sitting.quirk == "new application" else "tgz"
            pack(root / sitting.folder, root / f"{sitting.folder}.{ending}")
            if sitting.quirk != "latin-1":
                shutil.rmtree(root / sitting.folder)
    torn = root / f"{BROKEN}.tgz"
    pack(root / NO_AUDIO, torn)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])


def pack(folder: Path, archive: Path) -> None:
    """A .tgz that has the same bytes wherever and whenever it is made."""
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        tar.add(folder, arcname=folder.name, filter=impersonal)


def impersonal(member: tarfile.TarInfo) -> tarfile.TarInfo:
    mode = 0o755 if member.isdir() else 0o644
    return member.replace(mtime=0, uid=0, gid=0, uname="", gname="", mode=mode, deep=False)
