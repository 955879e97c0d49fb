"""The checks that every corpus goes through: what is kept, what is dropped, and what the report says."""

import numpy as np
import pytest
import soundfile

from ds2toolkit.config import FeatureConfig
from ds2toolkit.data.corpus import read_cut
from ds2toolkit.data.cuts import Checker
from ds2toolkit.data.report import Report


def checker(testing: bool = False) -> Checker:
    return Checker("part", testing, "english", FeatureConfig())


@pytest.fixture
def make(tmp_path):
    """A cut of noise: name, text, seconds, rate, channels, gain."""

    def build(name, text="Hello!", seconds=2.0, rate_hz=16000, num_channels=1, gain=0.1):
        samples = gain * np.random.default_rng(0).standard_normal((round(seconds * rate_hz), num_channels))
        soundfile.write(tmp_path / f"{name}.wav", samples, rate_hz)
        return read_cut(tmp_path / f"{name}.wav", name, text, "ann", condition="calm")

    return build


def test_text_is_normalised_and_the_raw_text_kept(make):
    (cut,) = checker().check([make("a", "It’s  a Well-known CAFÉ.")], Report(), 1)
    assert cut.supervisions[0].text == "it's a well known cafe"
    assert cut.supervisions[0].custom == {"condition": "calm", "raw_text": "It’s  a Well-known CAFÉ."}


def test_a_rawer_text_of_the_recipe_is_kept(make):
    cut = make("a", "Hello")
    cut.supervisions[0].custom = {"raw_text": "*Hello* [loud_breath]"}
    (kept,) = checker().check([cut], Report(), 1)
    assert kept.supervisions[0].text == "hello"
    assert kept.supervisions[0].custom == {"raw_text": "*Hello* [loud_breath]"}


BAD = [
    ({"text": ""}, "empty transcript", True),
    ({"text": "?!"}, "empty transcript", True),
    ({"text": "route 66"}, "characters outside the alphabet", False),
    ({"text": "far too many words", "seconds": 0.3}, "too short for its transcript", False),
    ({"gain": 0.0}, "audio is silent", False),
    ({"seconds": 0.01, "text": "a"}, "shorter than one window of features", True),
]


@pytest.mark.parametrize(("settings", "reason", "even_in_test"), BAD, ids=[reason for _, reason, _ in BAD])
def test_what_is_dropped_from_training_and_from_test_sets(make, settings, reason, even_in_test):
    for testing in (False, True):
        report = Report()
        kept = checker(testing).check([make("good"), make("bad", **settings)], report, 1)
        dropped = not testing or even_in_test
        assert [cut.id for cut in kept] == ["good"] + ["bad"] * (not dropped)
        assert dict(report.counts()) == ({("part", reason): 1} if dropped else {})


def test_repeats_need_a_frame_between_them(make):
    """20 output frames of 20 ms hold 20 letters, but only 10 equal ones and a bit."""
    kept = checker().check([make("letters", "ab" * 10, 0.4), make("repeats", "a" * 12, 0.4)], Report(), 1)
    assert [cut.id for cut in kept] == ["letters"]


def test_an_id_counts_once(make):
    report = Report()
    assert len(checker().check([make("a"), make("a")], report, 1)) == 1
    assert report.counts() == {("part", "duplicated id"): 1}


@pytest.mark.parametrize("num_jobs", [1, 3])
def test_damage_in_the_middle_of_a_file_is_found(make, tmp_path, num_jobs):
    good = [make(f"good{number}") for number in range(20)]
    path = tmp_path / "bad.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 32000), 16000)
    cut = read_cut(path, "bad", "hello", "ann")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 2000] = bytes(2000)
    path.write_bytes(raw)
    report = Report()
    assert checker().check([*good, cut, make("silent", gain=0.0)], report, num_jobs) == good
    (_, _, damage, _), silence = report.dropped
    assert damage.startswith("audio cannot be read") and silence[1:3] == ("silent", "audio is silent")


def test_other_rates_are_resampled_and_said_so(make):
    report = Report()
    kept = checker().check([make("phone", rate_hz=8000), make("stereo", num_channels=2)], report, 1)
    assert [cut.sampling_rate for cut in kept] == [16000, 16000]
    assert kept[0].load_audio().shape == (1, 32000)
    assert kept[1].load_audio().shape == (1, 32000)
    assert report.notes == [
        "part: 1 utterances resampled from 8000 to 16000 Hz",
        "part: 1 utterances have several channels; the first one is used",
    ]


def test_the_report_lists_every_utterance_with_its_reason(make, tmp_path):
    report = Report()
    checker().check([make("one"), make("two", ""), make("three", "9 lives")], report, 1)
    report.write(tmp_path / "report.txt")
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert text.startswith("Dropped 2 utterances.")
    assert "part  two  empty transcript" in text and "part  three  characters outside the alphabet: 9 in" in text
