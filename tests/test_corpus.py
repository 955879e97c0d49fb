"""Audio files as cuts: what is whole is taken, what is not is told from its header alone."""

import struct

import numpy as np
import pytest
import soundfile

from ds2toolkit.data.corpus import Corpus, audio_fault, read_cut, read_lines
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError
from ds2toolkit.toy.sphere import write_sphere

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


def test_compressed_sphere_is_taken_by_its_header(tmp_path):
    for name, num_samples in (("a", 5000), ("b", 0)):
        samples = np.arange(num_samples, dtype=np.int16)
        write_sphere(tmp_path / f"{name}.wv1", samples, RATE_HZ, "shorten-v1.09")
    (tmp_path / "c.wv1").write_bytes((tmp_path / "a.wv1").read_bytes()[:90])
    corpus = Corpus(Report())
    taken = [corpus.add("train", tmp_path / f"{name}.wv1", name, "x", "ann") for name in "abc"]
    assert taken == [True, False, False]
    (cut,) = corpus.cuts()["train"]
    assert (cut.num_samples, cut.sampling_rate, cut.channel) == (5000, RATE_HZ, 0)
    reasons = [dropped[1:3] for dropped in corpus.report.dropped]
    assert reasons == [("b", "audio is empty"), ("c", "audio cannot be read")]


def test_a_preparer_may_give_the_raw_text(wav):
    corpus = Corpus(Report())
    corpus.add("train", wav, "a", "Hello", "ann", condition="bus", raw_text="Hello [door_slam]")
    corpus.add("train", wav, "b", "Hello", "ann", raw_text="Hello .")
    supervisions = [cut.supervisions[0] for cut in corpus.cuts()["train"]]
    assert [supervision.text for supervision in supervisions] == ["Hello", "Hello"]
    assert supervisions[0].custom == {"condition": "bus", "raw_text": "Hello [door_slam]"}
    assert supervisions[1].custom == {"raw_text": "Hello ."}


TREES = {
    "AN4": "etc/an4_train.fileids",
    "LibriSpeech": "SPEAKERS.TXT",
    "WSJ, a folder a disc": "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx",
    "WSJ, a folder a disc ": "13_34_1/WSJ1/trans/x",
    "WSJ, its discs merged": "wsj0/si_tr_s/01i/01ic0201.wv1 wsj0/si_et_20/440/440c0401.wv1",
    "CHiME-3": "data/audio/16kHz/isolated/tr05_bus_real/x.wav",
    "CHiME-4": "data/audio/16kHz/isolated_1ch_track/x.wav",
    "AISHELL-1": "transcript/aishell_transcript_v0.8.txt wav/train/S0002/x.wav",
    "AISHELL-1 with its speakers still packed": "transcript/aishell_transcript_v0.8.txt wav/S0002.tar.gz",
    "THCHS-30": "lm_word/lexicon.txt data/A11_0.wav.trn",
    "MUSAN": "music/fma/ANNOTATIONS",
    "RIRS_NOISES": "simulated_rirs/smallroom/rir_list",
    "VoxForge": "1snoke-20120412-hge/etc/README",
    "VoxForge, its submissions still packed": "1snoke-20120412-hge.tgz",
    "the Free Spoken Digit Dataset": "recordings/0_jackson_0.wav",
    "a disc of WSJ": "wsj0/si_et_20/440/440c0401.wv1",
}


@pytest.mark.parametrize("name", TREES)
def test_a_corpus_is_recognised_in_its_folder_above_it_and_in_it(tmp_path, name):
    root, paths = tmp_path / "up" / "root", TREES[name].split()
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    name = name.strip()
    assert describe(root) == f"{root} looks like {name}"
    assert describe(root.parent) == f"{root.parent} holds root, which looks like {name}"
    if "/" in paths[0]:
        inner = root / paths[0].split("/")[0]
        assert describe(inner) == f"{inner} is a part of {root}, which looks like {name}"


def test_what_is_no_corpus_is_described_by_what_it_holds(tmp_path):
    assert describe(tmp_path / "none") == f"{tmp_path / 'none'} does not exist"
    assert describe(tmp_path) == f"{tmp_path} is empty"
    for name in ("c.zip", "b", "a.txt", "g", "f", "e"):
        (tmp_path / name).touch()
    assert describe(tmp_path / "b") == f"{tmp_path / 'b'} is a file"
    assert describe(tmp_path) == f"{tmp_path} holds a.txt, b, c.zip, e, f, …; unpack c.zip first"
