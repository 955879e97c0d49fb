"""Audio files of any rate and channel count, as one channel at the rate that the network wants."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse.augmentation import Resample

from ds2toolkit.data import sphere
from ds2toolkit.data.corpus import audio_fault
from ds2toolkit.errors import DataError


def read_audio(path: Path, sample_rate_hz: int) -> tuple[np.ndarray, str]:
    """(num_samples,) float32 at sample_rate_hz and what was done to get there, in words.

    Raises DataError for a file that is missing, not audio, empty, truncated or silent.
    """
    reason, detail = audio_fault(Path(path))
    if reason:
        raise DataError(f"{path}: {reason} ({detail})")
    samples, rate_hz = read_samples(Path(path))
    if not np.abs(samples).max() > 0:
        raise DataError(f"{path}: audio is silent (every sample is zero)")
    done = [] if samples.shape[1] == 1 else [f"{samples.shape[1]} channels averaged"]
    mono = samples.mean(axis=1)
    if rate_hz != sample_rate_hz:
        mono = np.asarray(Resample(rate_hz, sample_rate_hz)(mono[None], rate_hz))[0]
        done.append(f"resampled from {rate_hz} Hz to {sample_rate_hz} Hz")
    return mono, ", ".join(done)


def read_samples(path: Path) -> tuple[np.ndarray, int]:
    """(num_samples, num_channels) float32 and the sample rate in Hz, compressed SPHERE too."""
    if not sphere.is_compressed(path):
        return soundfile.read(path, dtype="float32", always_2d=True)
    samples, rate_hz = sphere.decode(path)
    return samples.reshape(len(samples), -1).astype(np.float32) / 32768, rate_hz
