"""Noise and reverberation on training utterances, drawn anew each epoch from what `ds2 noise` has prepared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse.audio.mixer import AudioMixer
from lhotse.augmentation.utils import convolve1d
from lhotse.cut import Cut

from ds2toolkit.config import NoiseConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.errors import DataError

NOISES, ROOMS = "cuts.jsonl.gz", "rirs.jsonl.gz"


@dataclass(frozen=True)
class Noises:
    """What is laid on utterances: recordings of noise, and impulse responses of rooms."""

    config: NoiseConfig
    sample_rate_hz: int
    noises: Sequence[Cut]
    rooms: Sequence[Cut]

    @staticmethod
    def load(folder: Path, config: NoiseConfig, sample_rate_hz: int) -> "Noises":
        """What the configuration asks for, from the folder that `ds2 noise` wrote.

        Raises DataError when it is not there, or was prepared for another sample rate.
        """
        noises = read(folder / NOISES, sample_rate_hz) if config.fraction > 0 else ()
        rooms = read(folder / ROOMS, sample_rate_hz) if config.reverb_fraction > 0 else ()
        return Noises(config, sample_rate_hz, noises, rooms)

    def __call__(self, cut: Cut, seed: int) -> np.ndarray | None:
        """The cut's samples, (T,) float32, with reverberation, noise or both; None where it stays as it is.

        A pure function of its arguments. The speech keeps its length, energy and place. Noise is at the
        signal-to-noise ratio drawn, over the whole utterance. Raises DataError for a cut of another rate.
        """
        rng = np.random.default_rng(seed)
        noisy, in_room = rng.random(2) < (self.config.fraction, self.config.reverb_fraction)
        if not (noisy or in_room):
            return None
        if cut.sampling_rate != self.sample_rate_hz:
            raise DataError(f"noise is for {self.sample_rate_hz} Hz, {cut.id} has {cut.sampling_rate} Hz: resample it")
        clean_T = samples_T = cut.load_audio()[0]
        if in_room:
            samples_T = reverberate(samples_T, load(draw(self.rooms, rng)))
        if noisy:
            noise_T = fitted(draw(self.noises, rng), len(samples_T), rng)
            samples_T = add_noise(samples_T, noise_T, rng.uniform(*self.config.snr_db))
        return None if samples_T is clean_T else samples_T


def read(path: Path, sample_rate_hz: int) -> Sequence[Cut]:
    if not path.exists():
        raise DataError(f"{path} does not exist, and the configuration wants noise.\nRun: ds2 noise --help")
    cuts = cut_files.read(path)
    if (rate_hz := cuts[0].sampling_rate) != sample_rate_hz:
        raise DataError(f"{path} is for {rate_hz} Hz, the features want {sample_rate_hz} Hz.\nRun ds2 noise again.")
    return cuts


def draw(cuts: Sequence[Cut], rng: np.random.Generator) -> Cut:
    return cuts[rng.integers(len(cuts))]


def load(cut: Cut) -> np.ndarray:
    try:
        return cut.load_audio()[0]
    except Exception as error:  # a file moved or damaged since may fail anywhere in the readers that lhotse tries
        source = cut.recording.sources[0].source
        raise DataError(f"{source} cannot be read ({type(error).__name__}).\nRun ds2 noise again.") from None


def fitted(cut: Cut, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """num_samples of a noise: cut out at a random place, or repeated from a random one. Reads no more than that."""
    spare = cut.num_samples - num_samples
    if spare > 0:
        start, rate_hz = int(rng.integers(spare + 1)), cut.sampling_rate
        cut = cut.truncate(offset=start / rate_hz, duration=num_samples / rate_hz, preserve_id=True)
        return np.resize(load(cut), num_samples)
    noise_T = load(cut)
    return np.resize(np.roll(noise_T, -int(rng.integers(len(noise_T)))), num_samples)


def add_noise(samples_T: np.ndarray, noise_T: np.ndarray, snr_db: float) -> np.ndarray:
    """Samples plus noise of as many samples, the ratio of their energies snr_db; unchanged where either is silent."""
    if not (samples_T.any() and noise_T.any()):
        return samples_T
    mixer = AudioMixer(samples_T[None], sampling_rate=1)  # any rate will do: nothing is shifted in time
    mixer.add_to_mix(noise_T[None], snr=snr_db)
    return mixer.mixed_audio[0]


def reverberate(samples_T: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Samples as heard in a room, of the same length and energy, the direct sound where it was and of its sign.

    response: the room's impulse response, any number of samples; its strongest is the direct sound. Unlike Kaldi's
    wav-reverberate and Lhotse, which follow its greatest, this keeps the place where the strongest is negative.
    """
    direct = int(np.abs(response).argmax())
    if not (samples_T.any() and response[direct]):
        return samples_T
    kernel = torch.from_numpy(response / response[direct])
    wet_T = convolve1d(torch.from_numpy(samples_T), kernel).numpy()[direct : direct + len(samples_T)]
    return wet_T * np.sqrt(np.mean(np.square(samples_T)) / np.mean(np.square(wet_T)))
