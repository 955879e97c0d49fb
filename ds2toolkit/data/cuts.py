"""Cuts on disk, and the checks that every corpus goes through before it is believed."""

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut

from ds2toolkit import parallel
from ds2toolkit.config import FeatureConfig
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError
from ds2toolkit.files import whole
from ds2toolkit.model.ctc import min_frames
from ds2toolkit.text.normalise import normalise
from ds2toolkit.text.vocabulary import Vocabulary

MIN_SHIFT_FACTOR = 2  # the convolutions of DS2 stride over time by 2 at least
CUTS_A_PROCESS = 1000  # starting a process costs as much as reading some hundred files


def write(cuts: Iterable[Cut], path: Path) -> None:
    """Write cuts as lhotse reads them; the same cuts, the same bytes, so no time of writing in the gzip header."""
    with whole(path) as part, gzip.GzipFile(part, "wb", mtime=0) as lines:
        for cut in cuts:
            lines.write(json.dumps(cut.to_dict(), ensure_ascii=False).encode() + b"\n")


def read(path: Path) -> CutSet:
    """Raises DataError when the file is not a whole list of cuts."""
    try:
        return CutSet.from_file(path).to_eager()
    except Exception as error:  # lhotse lets gzip, JSON and dataclass errors through as they are
        raise DataError(f"{path} is not a whole list of cuts: {str(error).splitlines()[0]}") from None


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

    def __init__(self, split: str, testing: bool, language: str, vocabulary: Vocabulary, features: FeatureConfig):
        self.split, self.testing, self.language, self.vocabulary = split, testing, language, vocabulary
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
        num_jobs = min(num_jobs, -(-len(kept) // CUTS_A_PROCESS))
        title = f"checking the audio of {self.split}"
        faults = parallel.run(audio_fault, list(kept.values()), num_jobs, title, unit="utt")
        for cut, fault in zip(list(kept.values()), faults, strict=True):
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
        supervision.custom = dict(supervision.custom or {}, raw_text=raw)
        return self.fault(cut, supervision.text)

    def fault(self, cut: Cut, text: str) -> tuple[str, str]:
        if not text:
            return "empty transcript", ""
        if cut.duration < self.window_s:
            return "shorter than one window of features", f"{cut.duration:.4f} s"
        if self.testing:
            return "", ""
        if unknown := sorted(self.vocabulary.unknown(text)):
            return "characters outside the vocabulary", f"{' '.join(unknown)} in {text!r}"
        shortest_s = min_frames(text) * self.shift_s * MIN_SHIFT_FACTOR
        if cut.duration < shortest_s:
            return "too short for its transcript", f"{cut.duration:.2f} s, {len(text)} characters"
        return "", ""

    def resampled(self, cut: Cut) -> Cut:
        return cut if cut.sampling_rate == self.sample_rate_hz else cut.resample(self.sample_rate_hz)

