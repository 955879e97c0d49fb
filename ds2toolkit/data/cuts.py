"""Cuts on disk, and the checks that every corpus goes through before it is believed."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut

from ds2toolkit import parallel
from ds2toolkit.config import FeatureConfig
from ds2toolkit.data.packed import Cuts
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError
from ds2toolkit.files import whole
from ds2toolkit.model.ctc import min_frames
from ds2toolkit.text.normalise import normalise, unknown

MIN_SHIFT_FACTOR = 2  # the convolutions of DS2 stride over time by 2 at least


def write(cuts: Iterable[Cut], path: Path) -> None:
    """Write cuts as lhotse reads them (gzip files one after another are one), and then the index that `read` goes by."""
    cuts, index = Cuts.of(cuts), index_of(path)
    with whole(path) as part:
        part.write_bytes(b"".join(cuts.members))
        index.unlink(missing_ok=True)
    with whole(index) as part:
        np.savez(
            part,
            sha256=_digest(cuts.members),
            member_bytes=np.array([len(member) for member in cuts.members], int),
            member_cuts=np.bincount(cuts.member_N),
            durations_s=cuts.durations_s,
            min_frames=cuts.min_frames,
        )


def read(path: Path) -> Cuts:
    """The cuts of a file; at once where it has its index. Raises DataError when the file is not a whole list of cuts."""
    try:
        if index_of(path).exists():
            return _by_index(path)
        return Cuts.of(CutSet.from_file(path))
    except Exception as error:  # lhotse lets gzip, JSON and dataclass errors through as they are
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a whole list of cuts: {reason}") from None


def index_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".jsonl.gz") + ".index.npz")


def _by_index(path: Path) -> Cuts:
    with np.load(index_of(path)) as index, path.open("rb") as file:
        members = [file.read(num_bytes) for num_bytes in index["member_bytes"].tolist()]
        if file.read(1) or (_digest(members) != index["sha256"]).any():
            raise DataError(f"{index_of(path).name} is of another file; delete it if you changed the cuts yourself")
        return Cuts.placed(members, index["member_cuts"], index["durations_s"], index["min_frames"])


def _digest(members: list[bytes]) -> np.ndarray:
    digest = hashlib.sha256()
    for member in members:
        digest.update(member)
    return np.frombuffer(digest.digest(), np.uint8)


def audio_fault(cut: Cut) -> str | None:
    """Why the audio of a cut can't be used, or None: read in full, so that damage in the middle is found."""
    try:
        samples = cut.load_audio()
    except Exception as error:  # a damaged file may fail anywhere in the readers that lhotse tries
        return f"audio cannot be read ({type(error).__name__})"
    return None if np.abs(samples).max(initial=0.0) > 0 else "audio is silent"


class Checker:
    """Turns a preparer's cuts of one split into cuts that can be trained on or tested, reporting what it drops.

    Test splits lose only what can't be scored at all: no audio, no reference, a second use of an id.
    """

    def __init__(self, split: str, testing: bool, language: str, features: FeatureConfig):
        self.split, self.testing, self.language = split, testing, language
        self.sample_rate_hz, self.shift_s, self.window_s = features.sample_rate_hz, features.shift_s, features.window_s

    def check(self, cuts: Iterable[Cut], report: Report, num_jobs: int) -> list[Cut]:
        kept: dict[str, Cut] = {}
        for cut in cuts:
            reason, detail = self.normalise(cut)
            if not reason and cut.id in kept:
                reason = "duplicated id"
            if reason:
                report.drop(self.split, cut.id, reason, detail)
            else:
                kept[cut.id] = cut
        cuts, title = list(kept.values()), f"checking the audio of {self.split}"
        faults = parallel.run(audio_fault, cuts, num_jobs, title, threads=True, unit="utt")
        for cut, fault in zip(cuts, faults, strict=True):
            if fault and not (self.testing and fault == "audio is silent"):
                report.drop(self.split, cut.id, fault)
                del kept[cut.id]
        self.note_changes(kept.values(), report)
        return [self.resampled(cut) for cut in kept.values()]

    def note_changes(self, cuts: Iterable[Cut], report: Report) -> None:
        """Say in the report what happens to audio of another rate or of several channels."""
        rates = Counter(cut.sampling_rate for cut in cuts if cut.sampling_rate != self.sample_rate_hz)
        for rate_hz, count in sorted(rates.items()):
            report.notes.append(f"{self.split}: {count} utterances resampled from {rate_hz} to {self.sample_rate_hz} Hz")
        if count := sum(cut.recording.num_channels > 1 for cut in cuts):
            report.notes.append(f"{self.split}: {count} utterances have several channels; the first one is used")

    def normalise(self, cut: Cut) -> tuple[str, str]:
        """Normalise the cut's text, keeping the raw one; returns why it is dropped, two empty strings if it is not."""
        if len(cut.supervisions) != 1:
            return "not one supervision", f"found {len(cut.supervisions)}"
        supervision = cut.supervisions[0]
        raw = supervision.text or ""
        supervision.text = normalise(self.language, raw)
        supervision.custom = {"raw_text": raw, **(supervision.custom or {})}
        return self.fault(cut, supervision.text)

    def fault(self, cut: Cut, text: str) -> tuple[str, str]:
        if not text:
            return "empty transcript", ""
        if cut.duration < self.window_s:
            return "shorter than one window of features", f"{cut.duration:.4f} s"
        if self.testing:
            return "", ""
        if outside := sorted(unknown(self.language, text)):
            return "characters outside the alphabet", f"{' '.join(outside)} in {text!r}"
        shortest_s = min_frames(text) * self.shift_s * MIN_SHIFT_FACTOR
        if cut.duration < shortest_s:
            return "too short for its transcript", f"{cut.duration:.2f} s, {len(text)} characters"
        return "", ""

    def resampled(self, cut: Cut) -> Cut:
        return cut if cut.sampling_rate == self.sample_rate_hz else cut.resample(self.sample_rate_hz)

