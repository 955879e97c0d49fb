"""Test sets in noise: exact ratios, the same noise at each, recordings that training never hears."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_cli import new_recipe

from ds2toolkit.data import cuts as cut_files
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import Recipe, load
from ds2toolkit.verbs import decode, noise

FACTS = "features: {storage: on_the_fly}\nsplits: {train: [train], dev: [dev], test: [test, test-10dB, test-0dB]}\n"


@pytest.fixture
def recipe(tmp_path, tone_cuts) -> Recipe:
    folder = new_recipe(tmp_path / "mine", FACTS)
    for split in ("train", "dev", "test"):
        cut_files.write(tone_cuts, folder / "data" / split / "cuts.jsonl.gz")
    return load(folder)


@pytest.fixture
def noises(tmp_path) -> Path:
    """Three noises to train with and two for tests, one at another rate and of two channels, one shorter than any speech."""
    for number, (name, rate_hz, num_samples) in enumerate(
        [("rain_1-a", 16000, 90000), ("rain_1-b", 16000, 90000), ("sea_1-a", 16000, 90000), ("rain_2-a", 8000, 50000), ("sea_2-a", 16000, 900)]
    ):
        samples = 0.1 * np.random.default_rng(number).normal(size=(num_samples, 2))
        (tmp_path / "noises/below").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "noises/below" / f"{name}.flac", samples, rate_hz)
    (tmp_path / "noises/CREDITS.md").write_text("not audio", encoding="utf-8")
    return tmp_path / "noises"


def samples(recipe: Recipe, split: str) -> list[np.ndarray]:
    return [cut.load_audio()[0].astype(np.float64) for cut in cut_files.read(recipe.cuts(split))]


def test_utterances_have_the_ratio_that_the_name_says_and_the_same_noise_at_each(recipe, noises):
    noise.run(recipe, None, None, False, noises, "*_2-*")
    clean, at_10, at_0 = (samples(recipe, split) for split in ("test", "test-10dB", "test-0dB"))
    for speech, little, much in zip(clean, at_10, at_0, strict=True):
        laid = []
        for mixed, snr_db in ((little, 10.0), (much, 0.0)):
            laid.append(unmixed(mixed, speech, snr_db))
            assert 20 * np.log10(np.linalg.norm(speech) / np.linalg.norm(laid[-1])) == pytest.approx(snr_db, abs=0.05)
        assert np.corrcoef(*laid)[0, 1] > 0.999
    kept = cut_files.read(recipe.cuts("test-0dB"))
    assert [cut.supervisions[0].text for cut in kept] == [cut.supervisions[0].text for cut in cut_files.read(recipe.cuts("test"))]


def unmixed(mixed: np.ndarray, speech: np.ndarray, snr_db: float) -> np.ndarray:
    """The noise in a mixture g * (speech + noise), where g is 1 but for mixtures that would be clipped."""
    gain = 1.0
    if np.abs(mixed).max() > 0.989:  # speech and noise are uncorrelated: |mixed|² is g²|speech|²(1 + 10^(-snr/10)), nearly
        gain = np.linalg.norm(mixed) / np.linalg.norm(speech) / np.sqrt(1 + 10 ** (-snr_db / 10))
    return mixed / gain - speech


def test_training_hears_none_of_the_noises_of_tests(recipe, noises):
    noise.run(recipe, None, None, False, noises, "*_2-*")
    train_with = cut_files.read(recipe.data / "noise" / "cuts.jsonl.gz")
    assert sorted(cut.id for cut in train_with) == ["below-rain_1-a", "below-rain_1-b", "below-sea_1-a"]
    assert {cut.sampling_rate for cut in train_with} == {16000}


def test_the_same_sets_are_made_again(recipe, noises):
    made = []
    for _ in range(2):
        noise.run(recipe, None, None, False, noises, "*_2-*")
        made.append([one.tobytes() for one in samples(recipe, "test-0dB")])
    assert made[0] == made[1]


@pytest.mark.parametrize("pattern", ["*_3-*", "*"])
def test_a_pattern_that_parts_nothing_is_named(recipe, noises, pattern):
    with pytest.raises(UserError, match=r"--test-noises .* fits [05] of 5 recordings"):
        noise.run(recipe, None, None, False, noises, pattern)


def test_test_sets_in_noise_want_a_folder_and_a_pattern(recipe, noises):
    for given in ((None, None), (noises, None)):
        with pytest.raises(UserError, match="test-10dB, test-0dB: made with --noises DIR --test-noises PATTERN"):
            noise.run(recipe, None, None, False, *given)


def test_decode_says_how_the_sets_are_made(recipe):
    with pytest.raises(UserError, match="decode needs .*test-10dB.*\nRun: .*noise"):
        decode.test_sets(recipe)


def test_recordings_that_are_none_are_named(recipe, noises):
    (noises / "below/rain_1-a.flac").write_bytes(b"fLaC")
    with pytest.raises(DataError, match="rain_1-a.flac"):
        noise.run(recipe, None, None, False, noises, "*_2-*")
    with pytest.raises(DataError, match="no recording .* below"):
        noise.run(recipe, None, None, False, recipe.folder / "local", "*")
