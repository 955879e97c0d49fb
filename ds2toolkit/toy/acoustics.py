"""Noise and rooms: what stands between a speaker and a microphone, at known ratios."""

from collections.abc import Callable

import numpy as np

from ds2toolkit.toy.speech import SAMPLE_RATE_HZ

DIRECT_TO_REVERBERANT_DB = 3.0
ONSET_S = 0.003
MAINS_HZ = 50


def white(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(num_samples)


def pink(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that loses 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(power_of_two(num_samples)))
    spectrum /= np.sqrt(np.arange(1, len(spectrum) + 1))
    return np.fft.irfft(spectrum)[:num_samples]


def hum(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum with ten harmonics, over a little pink noise."""
    times_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    phases = rng.uniform(0, 2 * np.pi, 10)
    tones = [
        np.sin(2 * np.pi * MAINS_HZ * k * times_s + phase) / k for k, phase in enumerate(phases, start=1)
    ]
    noise = pink(num_samples, rng)
    return np.sum(tones, axis=0) + 0.3 * noise / np.std(noise)


NOISES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "white": white,
    "pink": pink,
    "hum": hum,
}


def babble(voices: list[np.ndarray], num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Several people at once: each recording repeated from a random point, all equally loud."""
    together = np.zeros(num_samples)
    for samples in voices:
        loud = samples / np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
        together += np.resize(np.roll(loud, rng.integers(len(loud))), num_samples)
    return together


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Samples plus noise (repeated or cut to fit), scaled so that the ratio of energies is snr_db exactly.

    samples: (num_samples,); returns the same shape, float32, not limited to -1 … 1.
    Raises ValueError when either is silent.
    """
    noise = np.resize(noise, len(samples)).astype(np.float64)
    speech_energy, noise_energy = (np.sum(np.square(x, dtype=np.float64)) for x in (samples, noise))
    if not (speech_energy > 0 and noise_energy > 0):
        raise ValueError("a signal-to-noise ratio needs speech and noise that are not silent")
    gain = np.sqrt(speech_energy / noise_energy / 10 ** (snr_db / 10))
    return (samples + gain * noise).astype(np.float32)


def impulse_response(rt60_s: float, rng: np.random.Generator) -> np.ndarray:
    """A made-up room, (num_samples,) float64: the direct sound, then noise that falls by 60 dB in rt60_s."""
    onset = round(ONSET_S * SAMPLE_RATE_HZ)
    times_s = np.arange(round(rt60_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(len(times_s)) * 10 ** (-3 * times_s / rt60_s)
    tail *= np.sqrt(10 ** (-DIRECT_TO_REVERBERANT_DB / 10) / np.sum(tail**2))
    return np.concatenate([[1.0], np.zeros(onset), tail])


def reverberate(samples: np.ndarray, rt60_s: float, rng: np.random.Generator) -> np.ndarray:
    """Samples as heard in a room: float32, the same length, the direct sound where it was."""
    response = impulse_response(rt60_s, rng)
    size = power_of_two(len(samples) + len(response))
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum)[: len(samples)].astype(np.float32)


def power_of_two(num_samples: int) -> int:
    """The least that is not below num_samples: Fourier transforms of such lengths are many times faster."""
    return 1 << (num_samples - 1).bit_length()
