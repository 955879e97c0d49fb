"""What the network hears: DS2's log-spectrogram, fbank or MFCC of power-normalised audio, as a Lhotse extractor."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from lhotse.features.base import FeatureExtractor, register_extractor
from lhotse.features.kaldi.layers import Wav2LogFilterBank, Wav2MFCC, Wav2Spec

from ds2toolkit.config import FeatureConfig
from ds2toolkit.errors import ConfigError, DataError, UserError

Transform = Callable[[torch.Tensor], torch.Tensor]

# Power below this counts as this: 69 dB under one, as Kaldi floors its log-energies.
POWER_FLOOR = float(torch.finfo(torch.float32).eps)
STD_FLOOR = 1e-2
# Of fbank and MFCC, as Kaldi has them.
LOW_HZ, HIGH_HZ, PREEMPHASIS, LIFTER = 20.0, -400.0, 0.97, 22


def num_bins(config: FeatureConfig) -> int:
    """Values in a frame: 161 for the spectrogram of a 20 ms window at 16 kHz."""
    sizes = {"fbank": config.num_filters, "mfcc": config.num_ceps}
    return sizes.get(config.kind) or _samples(config.window_s, config) // 2 + 1


def num_frames(num_samples: int, config: FeatureConfig) -> int:
    """Frames of a clip: its length in shifts, half a shift rounded up (lhotse's convention)."""
    shift = _samples(config.shift_s, config)
    return (num_samples + shift // 2) // shift


def _samples(seconds: float, config: FeatureConfig) -> int:
    """A window or a shift in samples. Raises ConfigError unless that is a whole number."""
    exact = seconds * config.sample_rate_hz
    if round(exact) < 1 or abs(exact - round(exact)) > 1e-6:
        raise ConfigError(f"features: {seconds} s at {config.sample_rate_hz} Hz is no whole number of samples")
    return round(exact)


@register_extractor
class SpeechFeatures(FeatureExtractor):
    """Spectrogram, fbank or MFCC, by lhotse's layers or by kaldifeat, without dither: the same bytes every time.

    The spectrogram is log |STFT|^2 with a Hann window and no pre-emphasis (DS2, section 3.1); frame t is centred on
    (t + 1/2) shifts and the ends are mirrored. fbank and MFCC are Kaldi's.
    """

    name = "ds2-features"
    config_type = FeatureConfig

    def __init__(self, config: FeatureConfig | None = None):
        super().__init__(config)
        if _samples(self.config.window_s, self.config) < _samples(self.config.shift_s, self.config):
            raise ConfigError("features: window_s is shorter than shift_s")

    @property
    def frame_shift(self) -> float:
        return self.config.shift_s

    def feature_dim(self, sampling_rate: int) -> int:
        return num_bins(self.config)

    def extract(self, samples: np.ndarray | torch.Tensor, sampling_rate: int) -> np.ndarray:
        """Features (num_frames, num_bins) float32 of one channel of samples, (T,) or (1, T).

        Raises DataError for another rate, several channels, values that are not finite, less than one window.
        """
        samples_T = self._checked(np.asarray(samples, dtype=np.float32), sampling_rate)
        if self.config.power_normalise:
            samples_T = normalise_power(samples_T)
        with torch.inference_mode():
            return self._transform(torch.from_numpy(samples_T)).numpy()

    def _checked(self, samples: np.ndarray, sampling_rate: int) -> np.ndarray:
        if sampling_rate != self.config.sample_rate_hz:
            need_hz = self.config.sample_rate_hz
            raise DataError(f"features need {need_hz} Hz audio, this has {sampling_rate} Hz: resample it")
        if samples.ndim == 2 and len(samples) != 1 or samples.ndim not in (1, 2):
            raise DataError(f"features need one channel, found samples of shape {samples.shape}")
        samples_T, window = samples.reshape(-1), _samples(self.config.window_s, self.config)
        if len(samples_T) < window:
            raise DataError(f"{len(samples_T)} samples of audio are less than one window ({window})")
        if not np.isfinite(samples_T).all():
            raise DataError("the audio has values that are not finite numbers")
        return samples_T

    @cached_property
    def _transform(self) -> Transform:
        make = {"lhotse": _lhotse_transform, "kaldifeat": _kaldifeat_transform}[self.config.backend]
        return make(self.config)

    def __getstate__(self) -> dict[str, Any]:
        """Without the transform, which each process makes for itself: not all of kaldifeat can be pickled."""
        return {"config": self.config}


@cache
def extractor(config: FeatureConfig) -> SpeechFeatures:
    """The extractor of these settings, made once a process."""
    return SpeechFeatures(config)


def normalise_power(samples_T: np.ndarray) -> np.ndarray:
    """Audio without offset and of power one, so that gain changes nothing (DS2, section 3.1); silence is zero."""
    mean, std = float(samples_T.mean(dtype=np.float64)), float(samples_T.std(dtype=np.float64))
    if std <= np.finfo(np.float32).eps * abs(mean):
        return np.zeros_like(samples_T)
    return (samples_T - mean) / std


def _lhotse_transform(config: FeatureConfig) -> Transform:
    frames = {"sampling_rate": config.sample_rate_hz, "frame_length": config.window_s, "frame_shift": config.shift_s}
    if config.kind == "spectrogram":
        layer = Wav2Spec(
            **frames,
            window_type="hanning",
            round_to_power_of_two=False,
            remove_dc_offset=False,
            preemph_coeff=0.0,
            use_energy=False,
        )
        return lambda samples_T: layer(samples_T[None])[0].clamp_min_(POWER_FLOOR).log_()
    mel = {"low_freq": LOW_HZ, "high_freq": HIGH_HZ, "num_filters": config.num_filters, "preemph_coeff": PREEMPHASIS}
    if config.kind == "fbank":
        layer = Wav2LogFilterBank(**frames, **mel)
    else:
        layer = Wav2MFCC(**frames, **mel, num_ceps=config.num_ceps, cepstral_lifter=LIFTER)
    return lambda samples_T: layer(samples_T[None])[0]


def _kaldifeat_transform(config: FeatureConfig) -> Transform:
    try:
        import kaldifeat
    except ImportError:
        raise UserError("features: backend kaldifeat is not installed. Run: make kaldifeat") from None
    kinds = {
        "spectrogram": (kaldifeat.SpectrogramOptions, kaldifeat.Spectrogram),
        "fbank": (kaldifeat.FbankOptions, kaldifeat.Fbank),
        "mfcc": (kaldifeat.MfccOptions, kaldifeat.Mfcc),
    }
    make_options, make = kinds[config.kind]
    options = make_options()
    _set_frames(options.frame_opts, config)
    if config.kind == "spectrogram":
        return _without_energy(make(options), options.frame_opts)
    options.use_energy = False
    options.mel_opts.num_bins = config.num_filters
    options.mel_opts.low_freq, options.mel_opts.high_freq = LOW_HZ, HIGH_HZ
    if config.kind == "mfcc":
        options.num_ceps, options.cepstral_lifter = config.num_ceps, LIFTER
    return make(options)


def _set_frames(frames: Any, config: FeatureConfig) -> None:
    """Fill in kaldifeat's frame options."""
    spectrogram = config.kind == "spectrogram"
    frames.samp_freq = config.sample_rate_hz
    frames.frame_length_ms, frames.frame_shift_ms = 1000 * config.window_s, 1000 * config.shift_s
    frames.dither, frames.snip_edges = 0.0, False
    frames.preemph_coeff = 0.0 if spectrogram else PREEMPHASIS
    frames.remove_dc_offset = frames.round_to_power_of_two = not spectrogram
    frames.window_type = "hanning" if spectrogram else "povey"


def _without_energy(spectrogram: Any, frames: Any) -> Transform:
    """Kaldi puts the frame's energy in bin 0 of a spectrogram; this puts the power at 0 Hz back."""
    length = round(frames.samp_freq * frames.frame_length_ms / 1000)
    window = torch.hann_window(length, periodic=False)

    def transform(samples_T: torch.Tensor) -> torch.Tensor:
        frames_TW = spectrogram.convert_samples_to_frames(samples_T)
        feats_TF = spectrogram.compute(frames_TW)
        feats_TF[:, 0] = (frames_TW @ window).square().clamp_min(POWER_FLOOR).log()
        return feats_TF

    return transform


@dataclass(frozen=True)
class FeatureStats:
    """Mean and standard deviation of each bin over a training set; float32, (F,)."""

    mean_F: np.ndarray
    std_F: np.ndarray
    num_frames: int

    @staticmethod
    def of(utterances: Iterable[np.ndarray]) -> "FeatureStats":
        """Over every frame of (num_frames, F) arrays, summed in float64. Raises DataError when there is none."""
        count, sum_F, squares_F = 0, np.float64(0), np.float64(0)
        for feats_TF in utterances:
            wide_TF = np.asarray(feats_TF, dtype=np.float64)
            count += len(wide_TF)
            sum_F = sum_F + wide_TF.sum(axis=0)
            squares_F = squares_F + np.square(wide_TF).sum(axis=0)
        if not count:
            raise DataError("there are no features to take mean and variance of")
        mean_F = sum_F / count
        std_F = np.sqrt(np.maximum(squares_F / count - mean_F**2, STD_FLOOR**2))
        return FeatureStats(mean_F.astype(np.float32), std_F.astype(np.float32), count)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for the checkpoint."""
        return {"mean": self.mean_F.tolist(), "std": self.std_F.tolist(), "num_frames": self.num_frames}

    @staticmethod
    def from_dict(raw: dict[str, Any], where: str = "mean and variance") -> "FeatureStats":
        """What `to_dict` gave. Raises DataError naming `where` it was found."""
        try:
            mean_F, std_F = (np.array(raw[key], dtype=np.float32) for key in ("mean", "std"))
            stats = FeatureStats(mean_F, std_F, int(raw["num_frames"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: not feature statistics ({error!r}); compute the features again") from None
        if mean_F.ndim != 1 or mean_F.shape != std_F.shape or not np.isfinite(mean_F).all() or not (std_F > 0).all():
            raise DataError(f"{where}: damaged feature statistics; compute the features again")
        return stats


def normalise(feats_TF: np.ndarray, config: FeatureConfig, stats: FeatureStats | None) -> np.ndarray:
    """Features with mean 0 and variance 1 a bin: over the training set, over the utterance, or as they are. float32.

    Raises ValueError when "global" comes without statistics, or with those of another number of bins.
    """
    if config.mean_variance == "none":
        return feats_TF.astype(np.float32, copy=False)
    if config.mean_variance == "utterance":
        stats = FeatureStats.of([feats_TF])
    if stats is None or stats.mean_F.shape != feats_TF.shape[1:]:
        raise ValueError(f"features of shape {feats_TF.shape} need statistics of as many bins")
    return ((feats_TF - stats.mean_F) / stats.std_F).astype(np.float32, copy=False)
