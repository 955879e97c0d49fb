"""kaldifeat against lhotse's layers: two implementations of the same features."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from ds2toolkit.config import FeatureConfig
from ds2toolkit.data.features import SpeechFeatures, extractor, num_bins, num_frames

pytest.importorskip("kaldifeat", reason="kaldifeat is not installed; `make kaldifeat` builds it")

KINDS = ["spectrogram", "fbank", "mfcc"]


def noise(num_samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def both(samples, config):
    rate_hz = config.sample_rate_hz
    return [extractor(replace(config, backend=name)).extract(samples, rate_hz) for name in ("lhotse", "kaldifeat")]


def assert_close(ours, kaldis, kind):
    """Both round in float32 but in another order; the log magnifies that where waves cancel, in a few values."""
    difference = np.abs(ours - kaldis)
    assert ours.shape == kaldis.shape and ours.dtype == kaldis.dtype
    assert difference.mean() < (1e-3 if kind == "mfcc" else 1e-4)
    assert np.quantile(difference, 0.999) < 1e-2
    assert difference.max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power_normalise", [True, False])
@pytest.mark.parametrize("num_samples", [320, 321, 399, 8000, 16079, 16080])
def test_the_same_features(kind, power_normalise, num_samples):
    config = FeatureConfig(kind=kind, power_normalise=power_normalise)
    ours, kaldis = both(noise(num_samples), config)
    assert kaldis.shape == (num_frames(num_samples, config), num_bins(config))
    assert_close(ours, kaldis, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change", [{"window_s": 0.025}, {"sample_rate_hz": 8000, "num_filters": 40}, {"shift_s": 0.02}]
)
def test_the_same_features_with_other_settings(kind, change):
    config = FeatureConfig(kind=kind, **change)
    assert_close(*both(noise(config.sample_rate_hz), config), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_is_finite_and_the_same(kind):
    ours, kaldis = both(np.zeros(3200, dtype=np.float32), FeatureConfig(kind=kind))
    assert np.isfinite(kaldis).all()
    # lhotse takes the cosines of the MFCC in float32: 80 logs of the floor, -16, cancel to 6e-4 instead of 1e-5
    np.testing.assert_allclose(ours, kaldis, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_extractor_survives_pickling(kind):
    made = SpeechFeatures(FeatureConfig(kind=kind, backend="kaldifeat"))
    before = made.extract(noise(800), 16000)
    assert np.array_equal(pickle.loads(pickle.dumps(made)).extract(noise(800), 16000), before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_features_of_real_speech(real_speech, kind):
    path = sorted((real_speech / "LibriSpeech").rglob("*.flac"))[0]
    samples, _ = soundfile.read(path, dtype="float32")
    assert_close(*both(samples, FeatureConfig(kind=kind)), kind)
