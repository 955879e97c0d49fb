"""Compressed recordings made into FLAC once, over all cores, so that every later stage can read them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lhotse import MonoCut
from lhotse.audio import AudioSource

from ds2toolkit import parallel
from ds2toolkit.data import sphere
from ds2toolkit.data.report import Report

FOLDER_LETTERS = 3  # of an id: no folder gets too many files
FILES_A_PROCESS = 100  # starting a process costs as much as converting that many
PROCESSES_A_JOB = 2  # one computes while the other waits until its file is on the disk


def to_flac(
    split: str, cuts: Iterable[MonoCut], folder: Path, num_jobs: int, report: Report
) -> list[MonoCut]:
    """The cuts, those on compressed SPHERE files now on FLAC files of `folder` that are named by their ids.

    A file that is there already stays, so a run that was cut off goes on where it stopped. What can't be
    decoded is left out and reported.
    """
    kept: list[MonoCut | None] = list(cuts)
    flacs = {place: on_flac(cut, folder) for place, cut in enumerate(kept) if is_compressed(cut)}
    pairs = [(source(kept[place]), source(cut)) for place, cut in flacs.items()]
    num_jobs = min(PROCESSES_A_JOB * num_jobs, -(-len(pairs) // FILES_A_PROCESS))
    faults = parallel.run(sphere.convert, pairs, num_jobs, f"decompressing {split}", unit="utt")
    for (place, cut), fault in zip(flacs.items(), faults, strict=True):
        kept[place] = None if fault else cut
        if fault:
            report.drop(split, cut.id, "audio cannot be read", fault)
    return [cut for cut in kept if cut is not None]


def on_flac(cut: MonoCut, folder: Path) -> MonoCut:
    path = (folder / cut.id[:FOLDER_LETTERS] / f"{cut.id}.flac").absolute()
    file = AudioSource(type="file", channels=cut.recording.channel_ids, source=str(path))
    return replace(cut, recording=replace(cut.recording, sources=[file]))


def is_compressed(cut: MonoCut) -> bool:
    return cut.has_recording and cut.recording.sources[0].type == "file" and sphere.is_compressed(source(cut))


def source(cut: MonoCut) -> Path:
    return Path(cut.recording.sources[0].source)
