"""Features against their definition in numpy float64, against lhotse's frame counts, and through its storage."""

import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet, LilcomChunkyWriter, MonoCut, Recording
from lhotse.features.base import get_extractor_type
from lhotse.utils import compute_num_frames

from ds2toolkit.config import FeatureConfig
from ds2toolkit.data.corpus import read_cut
from ds2toolkit.data.features import (
    POWER_FLOOR,
    STD_FLOOR,
    FeatureStats,
    SpeechFeatures,
    extractor,
    normalise,
    normalise_power,
    num_bins,
    num_frames,
)
from ds2toolkit.data.store import load_features
from ds2toolkit.errors import ConfigError, DataError, UserError

SPECTROGRAM = FeatureConfig()
KINDS = [SPECTROGRAM, FeatureConfig(kind="fbank"), FeatureConfig(kind="mfcc")]


def speechlike(num_samples, seed=0):
    """Noise whose loudness and colour change in time."""
    rng = np.random.default_rng(seed)
    noise = np.convolve(rng.standard_normal(num_samples), [1, 0.9, 0.5], mode="same")
    return (0.05 * noise * (1.1 + np.sin(np.arange(num_samples) / 900))).astype(np.float32)


def mirrored(samples, config):
    """Frames of samples, one a row, float64: frame t starts (window - shift) / 2 before t shifts; the ends reflect."""
    window = round(config.window_s * config.sample_rate_hz)
    shift = round(config.shift_s * config.sample_rate_hz)
    padded = np.pad(samples.astype(np.float64), window, mode="symmetric")
    starts = window + shift * np.arange(num_frames(len(samples), config)) - (window - shift) // 2
    return padded[starts[:, None] + np.arange(window)]


def log_spectrogram(samples, config):
    """log |STFT|^2 from the definition of the Fourier transform, no FFT."""
    samples = samples.astype(np.float64)
    if config.power_normalise:
        samples = (samples - samples.mean()) / samples.std()
    frames = mirrored(samples, config)
    n = np.arange(frames.shape[1])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / (len(n) - 1))
    waves = np.exp(-2j * np.pi * np.outer(n, np.arange(len(n) // 2 + 1)) / len(n))
    return np.log(np.maximum(np.abs((frames * hann) @ waves) ** 2, POWER_FLOOR))


@pytest.mark.parametrize("power_normalise", [True, False])
@pytest.mark.parametrize("num_samples", [320, 7919, 16000])
def test_spectrogram_is_log_stft_squared(num_samples, power_normalise):
    config = replace(SPECTROGRAM, power_normalise=power_normalise)
    samples = speechlike(num_samples)
    found, expected = extractor(config).extract(samples, 16000), log_spectrogram(samples, config)
    assert found.shape == expected.shape == (num_frames(num_samples, config), 161)
    assert found.dtype == np.float32
    # float32 rounding, which the log magnifies where waves cancel; so powers are compared, as the ear would
    np.testing.assert_allclose(np.exp(found), np.exp(expected), rtol=1e-3, atol=1e-5 * np.exp(expected).max())
    assert np.abs(found - expected).mean() < 1e-4


def test_tone_peaks_in_its_bin():
    """1 kHz is bin 20 of 50 Hz bins."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    feats_TF = extractor(SPECTROGRAM).extract(tone, 16000)
    assert (feats_TF[2:-2].argmax(axis=1) == 20).all()


def test_sizes():
    assert [num_bins(config) for config in KINDS] == [161, 80, 40]
    assert num_bins(FeatureConfig(window_s=0.025)) == 201
    assert num_bins(FeatureConfig(sample_rate_hz=8000)) == 81
    assert num_bins(FeatureConfig(kind="fbank", num_filters=40)) == 40


@settings(max_examples=60, deadline=None)
@given(num_samples=st.integers(320, 20000), config=st.sampled_from(KINDS))
def test_frames_are_as_many_as_lhotse_expects(num_samples, config):
    feats_TF = extractor(config).extract(speechlike(num_samples), 16000)
    assert feats_TF.shape == (num_frames(num_samples, config), num_bins(config))
    assert len(feats_TF) == compute_num_frames(num_samples / 16000, config.shift_s, 16000)
    assert np.isfinite(feats_TF).all()


@given(
    num_samples=st.integers(0, 10**7),
    setting=st.sampled_from([(8000, 0.01), (16000, 0.01), (44100, 0.01), (22050, 0.02), (16000, 0.0125)]),
)
def test_frame_count_without_audio(num_samples, setting):
    rate_hz, shift_s = setting
    config = FeatureConfig(sample_rate_hz=rate_hz, shift_s=shift_s, window_s=2 * shift_s)
    assert num_frames(num_samples, config) == compute_num_frames(num_samples / rate_hz, shift_s, rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 11000, 16000, 44100, 48000])
def test_windows_are_not_a_sample_short_at_other_rates(rate_hz):
    for window_s in (0.02, 0.03, 0.04, 0.07):
        config = FeatureConfig(sample_rate_hz=rate_hz, window_s=window_s)
        feats_TF = SpeechFeatures(config).extract(speechlike(rate_hz), rate_hz)
        assert feats_TF.shape == (100, num_bins(config))


@settings(max_examples=30, deadline=None)
@given(gain=st.floats(1e-4, 1e4), offset=st.floats(-0.5, 0.5, allow_subnormal=False), config=st.sampled_from(KINDS))
def test_gain_and_offset_change_nothing(gain, offset, config):
    samples = speechlike(4800)
    plain, changed = (extractor(config).extract(one, 16000) for one in (samples, gain * (samples + np.float32(offset))))
    # float32 keeps less of quiet speech on a large offset; below e^-8 that is all there is
    plain, changed = np.exp(plain.clip(-8)), np.exp(changed.clip(-8))
    np.testing.assert_allclose(changed, plain, rtol=0.05, atol=1e-4 * plain.max())


def test_without_power_normalisation_gain_shifts_the_log():
    config = replace(SPECTROGRAM, power_normalise=False)
    samples = speechlike(4800)
    quiet, loud = extractor(config).extract(samples, 16000), extractor(config).extract(10 * samples, 16000)
    assert np.median(loud - quiet) == pytest.approx(np.log(100), abs=1e-4)


def test_power_is_one():
    samples = normalise_power(speechlike(5000) + np.float32(0.2))
    assert samples.dtype == np.float32
    assert samples.mean() == pytest.approx(0, abs=1e-5)
    assert np.square(samples).mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("level", [0.0, 0.1, -1.0])
def test_silence_is_finite_and_the_same_at_every_offset(config, level):
    feats_TF = extractor(config).extract(np.full(3200, level, dtype=np.float32), 16000)
    assert np.isfinite(feats_TF).all()
    assert np.array_equal(feats_TF, extractor(config).extract(np.zeros(3200, dtype=np.float32), 16000))


@pytest.mark.parametrize("config", KINDS)
def test_one_window_is_enough_and_less_is_refused(config):
    assert extractor(config).extract(speechlike(320), 16000).shape == (2, num_bins(config))
    for num_samples in (0, 1, 319):
        with pytest.raises(DataError, match=f"{num_samples} samples .* one window"):
            extractor(config).extract(speechlike(320)[:num_samples], 16000)


def test_bad_audio_is_refused():
    extract = extractor(SPECTROGRAM).extract
    with pytest.raises(DataError, match="need 16000 Hz audio, this has 8000 Hz"):
        extract(speechlike(8000), 8000)
    with pytest.raises(DataError, match="one channel"):
        extract(np.stack([speechlike(800)] * 2), 16000)
    for value in (np.nan, np.inf):
        with pytest.raises(DataError, match="not finite"):
            extract(np.append(speechlike(800), np.float32(value)), 16000)


def test_the_utterance_of_bad_audio_is_named(tmp_path):
    samples = np.append(speechlike(800), np.float32(np.nan))
    soundfile.write(tmp_path / "one.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(DataError, match="^one: the audio has values that are not finite numbers"):
        load_features(read_cut(tmp_path / "one.wav", "one", "a", "anybody"), SPECTROGRAM)


@pytest.mark.parametrize("change", [{"window_s": 0.02001}, {"window_s": 0.005}, {"shift_s": 0.0}])
def test_bad_windows_are_refused(change):
    with pytest.raises(ConfigError, match="features: "):
        SpeechFeatures(replace(SPECTROGRAM, **change)).extract(speechlike(800), 16000)


def test_same_features_for_every_form_of_audio():
    samples = speechlike(4800)
    expected = extractor(SPECTROGRAM).extract(samples, 16000)
    for form in (samples[None], torch.from_numpy(samples), samples.astype(np.float64)):
        assert np.array_equal(extractor(SPECTROGRAM).extract(form, 16000), expected)
    batch = [torch.from_numpy(samples), torch.from_numpy(samples[:999])]
    one, other = SpeechFeatures(SPECTROGRAM).extract_batch(batch, 16000)
    assert np.array_equal(one.numpy(), expected)
    assert len(other) == num_frames(999, SPECTROGRAM)


def test_extractor_is_registered_and_survives_pickling():
    assert get_extractor_type("ds2-features") is SpeechFeatures
    made = SpeechFeatures(KINDS[2])
    before = made.extract(speechlike(800), 16000)
    assert np.array_equal(pickle.loads(pickle.dumps(made)).extract(speechlike(800), 16000), before)


@pytest.mark.parametrize("num_samples", [4801, 16079, 16080])
def test_features_come_back_from_lilcom(tmp_path, num_samples):
    samples = speechlike(num_samples)
    soundfile.write(tmp_path / "one.wav", samples, 16000, subtype="FLOAT")
    recording = Recording.from_file(tmp_path / "one.wav")
    cut = MonoCut(id="one", start=0, duration=recording.duration, channel=0, recording=recording)
    with LilcomChunkyWriter(tmp_path / "feats.lca") as writer:
        stored = cut.compute_and_store_features(extractor(SPECTROGRAM), writer)
    CutSet.from_cuts([stored]).to_file(tmp_path / "cuts.jsonl.gz")
    loaded = next(iter(CutSet.from_file(tmp_path / "cuts.jsonl.gz"))).load_features()
    assert loaded.shape == (stored.num_frames, 161)
    # lilcom keeps steps of 2^-5
    np.testing.assert_allclose(loaded, extractor(SPECTROGRAM).extract(samples, 16000), atol=2**-6 + 1e-5)


def test_stats_are_those_of_all_frames_together():
    rng = np.random.default_rng(0)
    parts = [(3 * rng.standard_normal((n, 5)) + 100).astype(np.float32) for n in (1, 40, 7)]
    stats, frames = FeatureStats.of(iter(parts)), np.concatenate(parts).astype(np.float64)
    assert stats.num_frames == 48
    assert stats.mean_F.dtype == stats.std_F.dtype == np.float32
    np.testing.assert_allclose(stats.mean_F, frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(stats.std_F, frames.std(axis=0), rtol=1e-6)


def test_normalise_globally_by_utterance_or_not_at_all():
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((30, 4)).astype(np.float32) * scale + 5 for scale in (1, 9))
    stats = FeatureStats.of([first, second])
    both = np.concatenate([normalise(one, SPECTROGRAM, stats) for one in (first, second)])
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(both.std(axis=0), 1, atol=1e-5)
    alone = normalise(second, replace(SPECTROGRAM, mean_variance="utterance"), None)
    np.testing.assert_allclose(alone.std(axis=0), 1, atol=1e-5)
    assert np.array_equal(normalise(first, replace(SPECTROGRAM, mean_variance="none"), None), first)
    assert both.dtype == alone.dtype == np.float32


def test_a_bin_that_never_changes_is_zero_not_infinite():
    same = np.full((9, 3), 7, dtype=np.float32)
    stats = FeatureStats.of([same])
    assert (stats.std_F == np.float32(STD_FLOOR)).all()
    assert (normalise(same, SPECTROGRAM, stats) == 0).all()


def test_normalise_without_matching_stats_is_a_bug():
    feats_TF = np.zeros((2, 3), dtype=np.float32)
    for stats in (None, FeatureStats.of([np.zeros((2, 4))])):
        with pytest.raises(ValueError, match="statistics"):
            normalise(feats_TF, SPECTROGRAM, stats)


def test_stats_come_back_from_json():
    stats = FeatureStats.of([np.random.default_rng(0).standard_normal((50, 161))])
    back = FeatureStats.from_dict(json.loads(json.dumps(stats.to_dict())))
    assert np.array_equal(back.mean_F, stats.mean_F) and np.array_equal(back.std_F, stats.std_F)
    assert back.num_frames == 50


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"mean": [1.0], "std": [1.0, 2.0], "num_frames": 3},
        {"mean": [1.0], "std": [0.0], "num_frames": 3},
        {"mean": [float("nan")], "std": [1.0], "num_frames": 3},
        {"mean": "x", "std": [1.0], "num_frames": 3},
    ],
)
def test_damaged_stats_are_told(raw):
    with pytest.raises(DataError, match="stats.json.*compute the features again"):
        FeatureStats.from_dict(raw, "stats.json")


def test_no_features_no_stats():
    with pytest.raises(DataError, match="no features"):
        FeatureStats.of([])


def test_kaldifeat_missing_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaldifeat", None)
    with pytest.raises(UserError, match="make kaldifeat"):
        SpeechFeatures(FeatureConfig(backend="kaldifeat")).extract(speechlike(800), 16000)


def test_real_speech_agrees_with_the_definition(real_speech):
    path = sorted((real_speech / "LibriSpeech").rglob("*.flac"))[0]
    samples, rate_hz = soundfile.read(path, dtype="float32")
    found, expected = extractor(SPECTROGRAM).extract(samples, rate_hz), log_spectrogram(samples, SPECTROGRAM)
    assert np.abs(found - expected).mean() < 1e-3
    stats = FeatureStats.of([found])
    assert np.abs(normalise(found, SPECTROGRAM, stats).mean()) < 1e-3
