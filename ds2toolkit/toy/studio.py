"""Records toy corpora: what is said where and by whom in, audio files out, over all cores."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ds2toolkit import parallel
from ds2toolkit.toy import acoustics, grammar
from ds2toolkit.toy.speech import SAMPLE_RATE_HZ, Voice, speak
from ds2toolkit.toy.sphere import write_sphere

LEVEL_DB = -24.0
MAX_PEAK = 0.9
BABBLERS = ("m3", "f1", "m7", "f4")
PAUSE_S = (0.1, 0.3)
TAKES_A_PROCESS = 40


@dataclass(frozen=True)
class Setting:
    """Where it is recorded. `noise` is a name of acoustics.NOISES or CROWDS; rt60_s 0 is an open field."""

    noise: str = "pink"
    snr_db: float = 40.0
    rt60_s: float = 0.0


@dataclass(frozen=True)
class Take:
    """One utterance to record."""

    path: Path
    text: str
    voice: Voice
    setting: Setting
    seed: tuple[int, ...]


def record(take: Take) -> np.ndarray:
    """The samples of a take: (num_samples,) int16 at 16 kHz. The same take gives the same samples."""
    rng = np.random.default_rng(take.seed)
    pauses = [np.zeros(round(rng.uniform(*PAUSE_S) * SAMPLE_RATE_HZ), np.float32) for _ in range(2)]
    samples = np.concatenate([pauses[0], speak(take.text, take.voice), pauses[1]])
    if take.setting.rt60_s > 0:
        samples = acoustics.reverberate(samples, take.setting.rt60_s, rng)
    samples = acoustics.add_noise(samples, _noise(take.setting.noise, len(samples), rng), take.setting.snr_db)
    level = 10 ** (LEVEL_DB / 20) / np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    gain = min(level, MAX_PEAK / np.abs(samples).max())
    return np.round(samples * gain * 32767).astype(np.int16)


def _noise(name: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    if name not in acoustics.CROWDS:
        return acoustics.NOISES[name](num_samples, rng)
    voices = [Voice("american", variant, pitch=int(rng.integers(35, 65))) for variant in BABBLERS]
    people = [speak(grammar.sentence(rng), voice) for voice in voices]
    return acoustics.CROWDS[name](people, num_samples, rng)


def write(take: Take) -> float:
    """Record a take into its file. Returns its duration in seconds."""
    samples = record(take)
    take.path.parent.mkdir(parents=True, exist_ok=True)
    write_samples(take.path, samples)
    return len(samples) / SAMPLE_RATE_HZ


def write_samples(path: Path, samples: np.ndarray) -> None:
    """Write (num_samples,) int16 at 16 kHz in the format that the name ends in: .flac, .wav, .sph or .wv1."""
    match path.suffix:
        case ".sph":
            write_sphere(path, samples, SAMPLE_RATE_HZ)
        case ".wv1":
            write_sphere(path, samples, SAMPLE_RATE_HZ, "shorten-v2.00", little_endian=True)
        case ".flac" | ".wav":
            file = io.BytesIO()
            soundfile.write(file, samples, SAMPLE_RATE_HZ, format=path.suffix[1:].upper(), subtype="PCM_16")
            path.write_bytes(file.getvalue())
        case _:
            raise ValueError(f"unknown kind of audio file: {path.name}")


def write_all(takes: Sequence[Take], title: str) -> list[float]:
    """Record takes over all cores under a progress bar. Returns their durations in seconds, in order."""
    num_jobs = min(os.cpu_count() or 1, -(-len(takes) // TAKES_A_PROCESS))
    return list(parallel.run(write, takes, num_jobs, title, unit="utt"))
