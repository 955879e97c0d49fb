"""Audio files of any length, of which a few seconds at a time are in memory, as one channel."""

from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
from lhotse.augmentation import Resample

from ds2toolkit.data import sphere
from ds2toolkit.data.audio import read_samples
from ds2toolkit.data.corpus import audio_fault, audio_form
from ds2toolkit.errors import DataError


class LongAudio:
    """A file's samples by their times; of compressed SPHERE, whose recordings are short, all are in memory."""

    def __init__(self, path: Path):
        """Raises DataError for a file that is missing, not audio, empty or truncated."""
        reason, detail = audio_fault(path)
        if reason:
            raise DataError(f"{path}: {reason} ({detail})")
        self.path = path
        self.rate_hz, self.num_samples, self.num_channels = audio_form(path)

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.rate_hz

    def changed(self, sample_rate_hz: int) -> str:
        """What has to be done to have one channel at that rate, in words."""
        done = [] if self.num_channels == 1 else [f"{self.num_channels} channels averaged"]
        if self.rate_hz != sample_rate_hz:
            done.append(f"resampled from {self.rate_hz} Hz to {sample_rate_hz} Hz")
        return ", ".join(done)

    def read(self, start_s: float, end_s: float) -> np.ndarray:
        """(num_samples,) float32 at the file's own rate. Raises DataError where the file is damaged."""
        first, behind = (min(round(time_s * self.rate_hz), self.num_samples) for time_s in (start_s, end_s))
        if self._decoded is not None:
            return self._decoded[first:behind].mean(axis=1)
        try:
            with soundfile.SoundFile(self.path) as file:
                file.seek(first)
                samples = file.read(behind - first, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DataError(f"{self.path}: audio cannot be read ({error})") from None
        if len(samples) < behind - first:
            raise DataError(f"{self.path}: audio is damaged after {start_s + len(samples) / self.rate_hz:.1f} s")
        return samples.mean(axis=1)

    def read_at(self, start_s: float, end_s: float, sample_rate_hz: int) -> np.ndarray:
        """The same at another rate; start_s: a whole number of seconds, so that it is a sample at both."""
        samples_T = self.read(start_s, end_s)
        if self.rate_hz == sample_rate_hz or not len(samples_T):
            return samples_T
        return np.asarray(Resample(self.rate_hz, sample_rate_hz)(samples_T[None], self.rate_hz))[0]

    @cached_property
    def _decoded(self) -> np.ndarray | None:
        return read_samples(self.path)[0] if sphere.is_compressed(self.path) else None
