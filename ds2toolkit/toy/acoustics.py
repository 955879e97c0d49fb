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


def bus(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Low rumble, and an engine whose pitch and loudness wander."""
    times_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    wander = np.sin(2 * np.pi * rng.uniform(0.15, 0.4) * times_s + rng.uniform(0, 2 * np.pi))
    turns = np.cumsum(rng.uniform(25, 35) * (1 + 0.1 * wander)) / SAMPLE_RATE_HZ
    engine = sum(np.sin(2 * np.pi * (k * turns + rng.random())) / k**0.5 for k in range(1, 9))
    rumble, air = band(num_samples, rng, 20, 150), pink(num_samples, rng)
    return unit(rumble) + 0.7 * (1 + 0.4 * wander) * unit(engine) + 0.1 * unit(air)


def street(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cars that pass: the hiss of tyres swells and fades, over a little traffic far away."""
    times_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    seconds = num_samples / SAMPLE_RATE_HZ
    loudness = np.full(num_samples, 0.15)
    for _ in range(1 + round(seconds / 2)):
        away = (times_s - rng.uniform(0, seconds)) / rng.uniform(0.3, 0.8)
        loudness += rng.uniform(0.5, 1) / (1 + away**2)
    return loudness * unit(band(num_samples, rng, 400, 1500)) + 0.1 * unit(band(num_samples, rng, 20, 150))


NOISES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "white": white,
    "pink": pink,
    "hum": hum,
    "bus": bus,
    "street": street,
}


def babble(voices: list[np.ndarray], num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Several people at once: each recording repeated from a random point, all equally loud."""
    together = np.zeros(num_samples)
    for samples in voices:
        together += np.resize(np.roll(unit(samples), rng.integers(len(samples))), num_samples)
    return together


def cafe(voices: list[np.ndarray], num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """People at the tables around, and the clatter of their cups and spoons."""
    clatter = blows(num_samples, rng, rate_hz=4, low_hz=2500, high_hz=6000, decay_s=0.02)
    return unit(babble(voices, num_samples, rng)) + 0.5 * clatter


def pedestrian(voices: list[np.ndarray], num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """People some way off, between walls, steps that come by, and the air of a town."""
    people = reverberate(babble(voices, num_samples, rng), 0.8, rng)
    steps = blows(num_samples, rng, rate_hz=3, low_hz=100, high_hz=500, decay_s=0.05)
    return 0.5 * unit(people) + 0.7 * unit(pink(num_samples, rng)) + 0.5 * steps


CROWDS: dict[str, Callable[[list[np.ndarray], int, np.random.Generator], np.ndarray]] = {
    "babble": babble,
    "cafe": cafe,
    "pedestrian": pedestrian,
}


def blows(
    num_samples: int, rng: np.random.Generator, rate_hz: float, low_hz: float, high_hz: float, decay_s: float
) -> np.ndarray:
    """Short noises at random times, rate_hz a second and one at least, each fading to 1/e in decay_s."""
    times_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    loudness = np.zeros(num_samples)
    for start in rng.integers(num_samples, size=1 + round(rate_hz * num_samples / SAMPLE_RATE_HZ)):
        loudness[start:] += rng.uniform(0.3, 1) * np.exp(-times_s[: num_samples - start] / decay_s)
    return unit(loudness * band(num_samples, rng, low_hz, high_hz))


def band(num_samples: int, rng: np.random.Generator, low_hz: float, high_hz: float) -> np.ndarray:
    """Noise between two frequencies, falling by 12 dB an octave beyond them."""
    spectrum = np.fft.rfft(rng.standard_normal(power_of_two(num_samples)))
    hz = np.maximum(np.fft.rfftfreq(power_of_two(num_samples), 1 / SAMPLE_RATE_HZ), 1)
    spectrum /= np.sqrt((1 + (low_hz / hz) ** 4) * (1 + (hz / high_hz) ** 4))
    return np.fft.irfft(spectrum)[:num_samples]


def unit(samples: np.ndarray) -> np.ndarray:
    """Scaled to a root mean square of 1."""
    return samples / np.sqrt(np.mean(np.square(samples, dtype=np.float64)))


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
