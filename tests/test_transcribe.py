"""`ds2 transcribe`: files of any rate and channel count in, words out; what is no audio is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import spell
from test_segment import model as tone_network  # noqa: F401
from test_train import make_run

from ds2toolkit import checkpoint
from ds2toolkit.data.audio import read_audio
from ds2toolkit.decode.emissions import graph_text, greedy_text, greedy_words
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text import ngram
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.verbs import transcribe

TEXT = "abcacbab"


@pytest.fixture(scope="module")
def model(tmp_path_factory, tone_cuts):
    """A network that has learned tones, in its experiment folder."""
    folder = tmp_path_factory.mktemp("model")
    make_run(folder, tone_cuts, num_epochs=30, spec_augment={}).run()
    recogniser, state = checkpoint.load(folder / "best.pt")
    checkpoint.save(folder / "best.pt", replace(recogniser, unit="word"), state)
    return folder


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tones.wav"
    soundfile.write(path, spell(TEXT, np.random.default_rng(7)), 16000)
    return path


def lines(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_it_hears_what_was_said(model, wav, capsys):
    transcribe.run([wav], model, None, as_json=False)
    assert lines(capsys) == [TEXT]


@pytest.mark.parametrize(("rate_hz", "num_channels"), [(8000, 1), (44100, 2), (22050, 1), (16000, 5)])
def test_any_rate_and_channel_count(model, wav, tmp_path, capsys, rate_hz, num_channels):
    samples, change = read_audio(wav, rate_hz)
    other = tmp_path / "other.flac"
    soundfile.write(other, np.repeat(samples[:, None], num_channels, axis=1), rate_hz)
    transcribe.run([other], model, None, as_json=True)
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert line["duration_s"] == pytest.approx(0.12 * len(TEXT), abs=0.001)
    soundfile.write(tmp_path / "same.wav", read_audio(other, 16000)[0], 16000, subtype="FLOAT")
    transcribe.run([tmp_path / "same.wav"], model, None, as_json=False)
    assert lines(capsys) == [line["text"]] != [""]
    assert ("channels averaged" in err) == (num_channels > 1)
    assert (f"resampled from {rate_hz} Hz to 16000 Hz" in err) == (rate_hz != 16000)


def test_times_of_words(model, wav, capsys):
    transcribe.run([wav], model, None, as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert line["duration_s"] == pytest.approx(0.12 * len(TEXT))
    (word,) = line["words"]
    assert word["word"] == TEXT and 0 <= word["start_s"] < 0.2
    assert line["duration_s"] - 0.25 < word["end_s"] <= line["duration_s"] + 0.05


def test_a_long_recording_is_heard_throughout(tone_network, tmp_path, capsys):  # noqa: F811
    rng = np.random.default_rng(3)
    pause = (0.01 * rng.standard_normal(16000)).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", np.concatenate([part for _ in range(25) for part in (spell(TEXT, rng), pause)]), 16000)
    transcribe.run([tmp_path / "long.wav"], tone_network, None, as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert line["text"] == " ".join([TEXT] * 25)
    for number, word in enumerate(line["words"]):  # an utterance and a pause are 1.96 s
        assert word["word"] == TEXT and word["start_s"] == pytest.approx(1.96 * number, abs=0.1)


def test_where_nothing_is_heard_that_is_said(model, tmp_path, capsys):
    recogniser, state = checkpoint.load(model / "best.pt")
    with torch.no_grad():
        recogniser.model.output.bias[0] += 1000
    checkpoint.save(tmp_path / "best.pt", recogniser, state)
    soundfile.write(tmp_path / "tone.wav", spell("abc", np.random.default_rng(0)), 16000)
    transcribe.run([tmp_path / "tone.wav"], tmp_path, None, as_json=True)
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert line["text"] == "" and line["words"] == [] and "hears no words" in err


def test_words_are_split_at_spaces_with_their_own_times(model):
    recogniser, _ = checkpoint.load(model / "best.pt")
    log_probs_SV = spoken(recogniser, "_aab_ _c_")
    assert greedy_words(recogniser, log_probs_SV) == [
        {"word": "ab", "start_s": 0.02, "end_s": 0.08},
        {"word": "c", "start_s": 0.14, "end_s": 0.16},
    ]
    assert greedy_text(recogniser, log_probs_SV) == "ab c"
    assert graph_text(recogniser, ["mr.", "u.s.", "ab"]) == "mr us ab"


def spoken(recogniser, frames: str) -> np.ndarray:
    """Log-probabilities that leave no doubt; `_` is the blank."""
    ids = [0 if frame == "_" else recogniser.vocabulary.encode(frame)[0] for frame in frames]
    log_probs_SV = np.full((len(ids), len(recogniser.vocabulary)), -10.0, np.float32)
    log_probs_SV[range(len(ids)), ids] = 0.0
    return log_probs_SV


def test_where_characters_are_the_unit_each_has_its_own_times(model):
    trained, _ = checkpoint.load(model / "best.pt")
    mandarin = replace(trained, vocabulary=Vocabulary.characters_of(["中国人k"]), language="mandarin", unit="character")
    log_probs_SV = spoken(mandarin, "_中中国__k_")
    assert greedy_words(mandarin, log_probs_SV) == [
        {"word": "中", "start_s": 0.02, "end_s": 0.04},
        {"word": "国", "start_s": 0.06, "end_s": 0.08},
        {"word": "k", "start_s": 0.12, "end_s": 0.14},
    ]
    assert greedy_text(mandarin, log_probs_SV) == graph_text(mandarin, ["中", "国", "k"]) == "中国k"


def test_characters_are_joined_without_spaces(model, wav, tmp_path, capsys):
    recogniser, state = checkpoint.load(model / "best.pt")
    checkpoint.save(tmp_path / "best.pt", replace(recogniser, unit="character"), state)
    transcribe.run([wav], tmp_path, None, as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert line["text"] == TEXT == "".join(word["word"] for word in line["words"]) and len(line["words"]) == len(TEXT)


def test_a_graph_makes_words_of_its_language_model(model, wav, tmp_path, capsys):
    vocabulary = checkpoint.load(model / "best.pt")[0].vocabulary
    ngram.write_arpa(ngram.estimate([[TEXT], ["cba"], ["abc", TEXT]], 2), tmp_path / "G.arpa")
    lexicon, _ = Lexicon.from_words([TEXT, "cba", "abc"], vocabulary, "english")
    compile_graph(vocabulary.tokens, lexicon, tmp_path / "G.arpa", tmp_path / "graph")
    transcribe.run([wav], model, tmp_path / "graph", as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert line["text"] == TEXT and line["score"] < 0
    (word,) = line["words"]
    assert word["word"] == TEXT and 0 <= word["start_s"] < 0.2 and line["duration_s"] - 0.25 < word["end_s"] and 0 <= word["score"] <= 1


def test_files_that_are_no_audio_are_named_and_the_rest_transcribed(model, wav, tmp_path, capsys):
    bad = {name: tmp_path / f"{name}.wav" for name in ("missing", "empty", "text", "silent", "nothing", "truncated")}
    bad["empty"].touch()
    bad["text"].write_text("these are words, not audio", encoding="utf-8")
    soundfile.write(bad["silent"], np.zeros(16000), 16000)
    soundfile.write(bad["nothing"], np.zeros(0), 16000)
    bad["truncated"].write_bytes(wav.read_bytes()[:-4000])
    with pytest.raises(UserError) as error:
        transcribe.run([*bad.values(), wav], model, None, as_json=False)
    assert lines(capsys) == [f"{wav}\t{TEXT}"]
    messages = str(error.value).splitlines()
    assert len(messages) == len(bad)
    for (name, path), message in zip(bad.items(), messages, strict=True):
        assert str(path) in message, name


def test_a_clip_shorter_than_a_window_is_an_error(model, tmp_path):
    path = tmp_path / "click.wav"
    soundfile.write(path, np.ones(100) * 0.1, 16000)
    with pytest.raises(UserError, match="click.wav"):
        transcribe.run([path], model, None, as_json=False)


def test_real_files_are_read(real_speech):
    samples, change = read_audio(next((real_speech / "fsdd/recordings").glob("*.wav")), 16000)
    assert change == "resampled from 8000 Hz to 16000 Hz" and samples.ndim == 1
    samples, change = read_audio(next((real_speech / "an4").rglob("*.sph")), 16000)
    assert change == "" and np.abs(samples).max() > 0.01


def test_what_is_no_file_at_all(tmp_path):
    with pytest.raises(DataError, match="no audio file"):
        read_audio(tmp_path, 16000)
