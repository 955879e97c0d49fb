"""Audio files as cuts: what is whole is taken, what is not is told from its header alone."""

import struct

import numpy as np
import pytest
import soundfile

from ds2toolkit.data.corpus import Corpus, audio_fault, read_cut, read_lines
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

RATE_HZ = 8000


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (RATE_HZ, 2)), RATE_HZ)
    return path


def test_a_cut_says_what_the_file_holds(wav):
    cut = read_cut(wav, "a", "Hello, you.", "ann", condition="bus", gender="female", language="Welsh")
    supervision = cut.supervisions[0]
    assert (cut.id, cut.duration, cut.sampling_rate, cut.num_samples, cut.channel) == (
        "a",
        1.0,
        RATE_HZ,
        RATE_HZ,
        0,
    )
    assert (supervision.text, supervision.speaker, supervision.language) == ("Hello, you.", "ann", "Welsh")
    assert supervision.custom == {"condition": "bus"} and supervision.gender == "female"
    assert np.allclose(cut.load_audio()[0], soundfile.read(wav)[0][:, 0], atol=1e-4)
    assert read_cut(wav, "a", "hello", "ann").supervisions[0].custom is None


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("kept", [0.99, 0.5])
def test_a_file_cut_short_is_told_from_a_whole_one(wav, suffix, kept):
    path = wav.with_suffix("." + suffix)
    soundfile.write(path, *soundfile.read(wav))
    assert audio_fault(path) == ("", "")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    reason, detail = audio_fault(path)
    assert reason == "audio is truncated" and str(path) in detail and "8000" in detail


def test_a_wav_written_to_a_pipe_states_no_length_and_is_whole(wav):
    data = bytearray(wav.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    wav.write_bytes(data)
    assert audio_fault(wav) == ("", "")
    assert read_cut(wav, "a", "", "").num_samples == RATE_HZ


def test_a_folder_named_as_audio_is_no_audio(tmp_path):
    (tmp_path / "x.wav").mkdir()
    assert audio_fault(tmp_path / "x.wav")[0] == "no audio file"


def test_a_corpus_keeps_order_and_takes_an_id_once_a_split(wav, tmp_path):
    corpus = Corpus(Report())
    taken = [
        corpus.add(split, path, name, "x", "ann")
        for split, name, path in [
            ("train", "b", wav),
            ("train", "a", wav),
            ("train", "b", wav),
            ("test", "b", wav),
            ("dev", "c", tmp_path / "none.wav"),
        ]
    ]
    assert taken == [True, True, False, True, False]
    assert {name: list(cuts.ids) for name, cuts in corpus.cuts().items()} == {
        "train": ["b", "a"],
        "test": ["b"],
    }
    assert corpus.report.counts() == {("train", "duplicated id"): 1, ("dev", "no audio file"): 1}


def test_an_empty_report_says_so(tmp_path):
    Report().write(tmp_path / "report.txt")
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") == "No utterance was dropped.\n"


def test_lines_of_a_text_file(tmp_path):
    (tmp_path / "x").write_bytes(b"one\r\n\n  two\x85\xff \n")
    assert read_lines(tmp_path / "x") == ["one", "two\ufffd\ufffd"]
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_lines(tmp_path / "none")
