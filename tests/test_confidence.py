"""Confidence: scores of words are probabilities, calibration is monotone and helps on words it has not seen."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from conftest import spell
from hypothesis import given
from hypothesis import strategies as st
from test_long import model, noise, recogniser  # noqa: F401
from test_segment import model as tone_network  # noqa: F401
from test_train import SPLITS

from ds2toolkit.config import RecipeConfig, from_dict
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.corpus import read_cut
from ds2toolkit.decode import calibration, tuned
from ds2toolkit.decode.calibration import Calibration, calibrate, expected_error, held_out
from ds2toolkit.decode.confidence import greedy_targets, words
from ds2toolkit.decode.emissions import greedy_words
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import Recipe
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.verbs import calibrate as calibrate_verb
from ds2toolkit.verbs import transcribe


def spoken(recogniser, frames: str, sure: float = 0.99) -> np.ndarray:  # noqa: F811
    """Log-probabilities with `sure` for each frame's token; `_` is the blank."""
    ids = [0 if frame == "_" else recogniser.vocabulary.encode(frame)[0] for frame in frames]
    size = len(recogniser.vocabulary)
    probs_SV = np.full((len(ids), size), (1 - sure) / (size - 1))
    probs_SV[range(len(ids)), ids] = sure
    return np.log(probs_SV).astype(np.float32)


def simulated(seed: int, num_words: int = 4000):
    """Scores that are too sure, and which words are right."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(4, 1, num_words)
    correct = rng.random(num_words) < truth
    return 1 / (1 + np.exp(-(2.5 * calibration.logit(truth) + 1))), correct


@pytest.mark.parametrize("frames", ["_aab_ _c_", "_ab_ _ _c", " _all_", "a", "__", "_a_b_ c'd _e "])
def test_words_and_times_are_those_of_the_best_path(recogniser, frames):  # noqa: F811
    log_probs_SV = spoken(recogniser, frames)
    found = words(recogniser, log_probs_SV, greedy_targets(log_probs_SV))
    wanted = greedy_words(recogniser, log_probs_SV)
    assert [{"word": w.text, "start_s": w.start_s, "end_s": w.end_s} for w in found] == wanted
    assert all(0.8 < word.score <= 1 for word in found)


def test_a_word_that_could_be_another_has_a_low_score_and_its_neighbours_have_not(recogniser):  # noqa: F811
    log_probs_SV = spoken(recogniser, "_one_ _two_ _six_")
    token = recogniser.vocabulary.encode("e")[0]
    log_probs_SV[9, [recogniser.vocabulary.encode("o")[0], token]] = np.log([0.5, 0.49])
    one, two, six = words(recogniser, log_probs_SV, greedy_targets(log_probs_SV))
    assert two.text == "two" and 0.4 < two.score < 0.52 and min(one.score, six.score) > 0.9


def test_doubt_about_the_time_is_no_doubt_about_the_word(recogniser):  # noqa: F811
    log_probs_SV = spoken(recogniser, "___a__")
    a = recogniser.vocabulary.encode("a")[0]
    log_probs_SV[2:4, [0, a]] = np.log(0.495)
    (word,) = words(recogniser, log_probs_SV, [a])
    assert word.score > 0.7  # a, aa, _a: all but __


def test_where_characters_are_the_unit_each_has_its_own_score(recogniser):  # noqa: F811
    mandarin = replace(recogniser, vocabulary=Vocabulary.characters_of(["中国人k"]), language="mandarin", unit="character")
    log_probs_SV = spoken(mandarin, "_中中国__k_")
    log_probs_SV[3, mandarin.vocabulary.encode("国")] = np.log(0.6)
    log_probs_SV[3, 0] = np.log(0.39)
    found = words(mandarin, log_probs_SV, greedy_targets(log_probs_SV))
    assert [word.text for word in found] == list("中国k")
    assert found[1].score < 0.7 and min(found[0].score, found[2].score) > 0.7


@given(st.lists(st.floats(0, 1), min_size=20, max_size=60), st.integers(0, 1000))
def test_calibration_is_monotone_and_a_probability(scores, seed):
    correct = np.random.default_rng(seed).random(len(scores)) < 0.7
    found = calibrate(np.array(scores), correct)
    confidence = found(np.linspace(0, 1, 50))
    assert (np.diff(confidence) >= 0).all() and confidence.min() >= 0 and confidence.max() <= 1


@pytest.mark.parametrize("right", [True, False])
def test_words_that_are_all_right_or_all_wrong(right):
    confidence = calibrate(np.linspace(0.1, 0.9, 50), np.full(50, right))(np.array([0.1, 0.9]))
    assert (confidence > 0.9).all() if right else (confidence < 0.1).all()


def test_calibration_helps_on_words_it_has_not_seen():
    scores, correct = simulated(0)
    found, (others, right) = calibrate(scores, correct), simulated(1)
    assert expected_error(found(others), right) < 0.03 < expected_error(others, right)
    apart = held_out(scores, correct, np.arange(len(scores)) // 5)
    assert expected_error(apart, correct) < 0.03


def test_too_few_words():
    with pytest.raises(UserError, match="3 words are too few"):
        calibrate(np.ones(3), np.ones(3, bool))


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    scores, correct = simulated(0, 200)
    assert calibration.draw({"greedy": (scores, calibrate(scores, correct)(scores), correct)}, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_transcribe_says_confidence_only_where_it_is_calibrated(recogniser, model, tmp_path, capsys):  # noqa: F811
    wav = noise(tmp_path / "noise.wav", 1.0)
    transcribe.run([wav], model, None, True)
    out, err = capsys.readouterr()
    plain = json.loads(out)["words"]
    assert plain and all(set(word) == {"word", "start_s", "end_s", "score"} for word in plain) and "ds2 calibrate" in err
    made_for = {"checkpoint": tuned.digest([model])}
    calibration.write(model.parent, {"greedy": calibration.entry(Calibration(0.5, 1.0), made_for)})
    transcribe.run([wav], model, None, True)
    out, err = capsys.readouterr()
    for word, before in zip(json.loads(out)["words"], plain, strict=True):
        assert word["confidence"] == pytest.approx(Calibration(0.5, 1.0)(np.array(before["score"])), abs=0.03)
    assert not err
    calibration.write(model.parent, {"greedy": calibration.entry(Calibration(0.5, 1.0), {"checkpoint": "another"})})
    transcribe.run([wav], model, None, True)
    out, err = capsys.readouterr()
    assert json.loads(out)["words"] == plain and "another checkpoint" in err
    (model.parent / calibration.NAME).write_text('{"greedy": {}}', encoding="utf-8")
    with pytest.raises(DataError, match="confidence.json is damaged"):
        transcribe.run([wav], model, None, True)
    (model.parent / calibration.NAME).unlink()


@pytest.fixture
def recipe(tone_network, tmp_path):  # noqa: F811
    """A recipe whose dev set are words of tones; some references have another word than is said."""
    config = from_dict(RecipeConfig, {"splits": SPLITS, "title": "tones", "features": {"mean_variance": "none"}}, "test")
    made, rng, cuts = Recipe(tmp_path, None, config), np.random.default_rng(0), []
    for number in range(48):
        text = str(rng.choice(["abc", "bac", "ca"]))
        soundfile.write(tmp_path / f"{number}.wav", spell(f" {text} ", rng), 16000)
        reference = "b" if number % 4 == 0 else text
        cuts.append(read_cut(tmp_path / f"{number}.wav", f"utt{number:02d}", reference, "speaker"))
    cut_files.write(cuts, made.cuts("dev"))
    made.experiment(None).mkdir(parents=True)
    shutil.copy(tone_network, made.experiment(None) / "best.pt")
    return made


def test_calibrate_writes_what_transcribe_reads(recipe, tmp_path, capsys):
    calibrate_verb.run(recipe, None, None, 1)
    out = capsys.readouterr().out
    assert "greedy: 48 words, 75.0% of them right" in out and "confidence.json" in out
    entry = calibration.read(recipe.experiment(None))["greedy"]
    assert entry["num_words"] == 48 and entry["error_held_out"] < 0.3
    transcribe.run([tmp_path / "1.wav"], recipe.experiment(None), None, True)
    out, err = capsys.readouterr()
    assert not err and all(0 < word["confidence"] < 1 for word in json.loads(out)["words"])


def test_calibrate_without_a_checkpoint(recipe):
    (recipe.experiment(None) / "best.pt").unlink()
    with pytest.raises(UserError, match="calibrate needs"):
        calibrate_verb.run(recipe, None, None, 1)
