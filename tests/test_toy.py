"""The toy corpora's speech, noise, rooms and sentences: exact ratios, and the same bytes every time."""

import hashlib
import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.errors import UserError
from ds2toolkit.toy import acoustics, grammar, speech
from ds2toolkit.toy.speech import ACCENTS, SAMPLE_RATE_HZ, Voice, speak
from ds2toolkit.toy.sphere import write_sphere
from ds2toolkit.toy.studio import Setting, Take, record, write, write_all

SPOKEN = [
    ("it's in the river", Voice("american", "f2")),
    ("the old dog is near my school", Voice("scottish", "m1", speed_wpm=190, pitch=30)),
    ("where is the king today", Voice("caribbean", "klatt", pitch_range=80)),
    ("please carry the bread now", Voice("received", "f4", speed_wpm=140)),
]


@pytest.fixture(scope="module", autouse=True)
def espeak():
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")


def digest(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


def test_speech_is_audible_and_of_the_promised_form():
    samples = speak("the dog is in the garden", Voice())
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert 0.8 < len(samples) / SAMPLE_RATE_HZ < 4
    assert 0.05 < np.abs(samples).max() <= 1


def test_an_utterance_does_not_depend_on_what_was_said_before():
    alone = [digest(speak(*utterance)) for utterance in SPOKEN]
    for seed in range(3):
        order = random.Random(seed).sample(range(len(SPOKEN)), len(SPOKEN))
        again = {index: digest(speak(*SPOKEN[index])) for index in order}
        assert [again[index] for index in range(len(SPOKEN))] == alone
    assert len(set(alone)) == len(alone)


def test_another_process_at_another_time_speaks_the_same_bytes():
    program = (
        "import hashlib; from ds2toolkit.toy.speech import Voice, speak;"
        "print(hashlib.sha256(speak(\"it's in the river\", Voice('american', 'f2')).tobytes()).hexdigest())"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert printed == [digest(speak(*SPOKEN[0]))] * 2


def test_resampling_keeps_a_tone():
    times_s = np.arange(22050) / 22050
    tone = np.sin(2 * np.pi * 1000 * times_s) * np.hanning(22050)
    expected_s = np.arange(16000) / 16000
    expected = np.sin(2 * np.pi * 1000 * expected_s) * np.interp(expected_s, times_s, np.hanning(22050))
    assert np.abs(speech.resample(tone) - expected).max() < 1e-3
    assert len(speech.resample(tone[:442])) == 321


def test_accents_variants_and_prosody_are_heard():
    text = "the teacher is going to the market"
    voices = [Voice(accent) for accent in ACCENTS] + [
        Voice(variant=v) for v in ("f1", "f2", "m1", "m7", "Annie")
    ]
    voices += [Voice(pitch=30), Voice(pitch_range=90)]
    assert len({digest(speak(text, voice)) for voice in voices}) == len(voices)
    assert len(speak(text, Voice(speed_wpm=120))) > 1.3 * len(speak(text, Voice(speed_wpm=200)))


def test_what_cannot_be_spoken_is_refused():
    with pytest.raises(ValueError, match="no sound"):
        speak("", Voice())
    with pytest.raises(ValueError, match="unknown voice variant"):
        speak("hello", Voice(variant="nobody"))
    with pytest.raises(ValueError, match="unknown accent"):
        speak("hello", Voice(accent="martian"))


def test_a_missing_espeak_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    speech.variants.cache_clear()
    try:
        with pytest.raises(UserError, match=r"pip install -e \.\[toy\]"):
            speak("hello", Voice())
    finally:
        monkeypatch.undo()
        speech.variants.cache_clear()


@settings(deadline=None)
@given(
    snr_db=st.integers(-20, 60),
    num_speech=st.integers(50, 4000),
    num_noise=st.integers(20, 4000),
    seed=st.integers(0, 2**32 - 1),
)
def test_noise_is_added_at_the_ratio_asked_for(snr_db, num_speech, num_noise, seed):
    rng = np.random.default_rng(seed)
    clean, noise = rng.standard_normal(num_speech).astype(np.float32), rng.uniform(-3, 3, num_noise)
    noisy = acoustics.add_noise(clean, noise, snr_db)
    assert noisy.shape == clean.shape and noisy.dtype == np.float32
    added = noisy.astype(np.float64) - clean
    measured_db = 10 * np.log10(np.sum(clean.astype(np.float64) ** 2) / np.sum(added**2))
    assert measured_db == pytest.approx(snr_db, abs=1e-2)


def test_silence_has_no_ratio():
    for samples, noise in ((np.zeros(9), np.ones(9)), (np.ones(9), np.zeros(9))):
        with pytest.raises(ValueError, match="silent"):
            acoustics.add_noise(samples, noise, 10)


@pytest.mark.parametrize("rt60_s", [0.15, 0.5, 1.0])
def test_a_room_decays_by_60_db_in_its_reverberation_time(rt60_s):
    """By Schroeder's backward integral, from -5 to -35 dB of the tail."""
    response = acoustics.impulse_response(rt60_s, np.random.default_rng(3))
    tail = response[round(2 * acoustics.ONSET_S * SAMPLE_RATE_HZ) :]
    decay_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    inside = np.flatnonzero((decay_db < -5) & (decay_db > -35))
    slope_db_s = np.polyfit(inside / SAMPLE_RATE_HZ, decay_db[inside], 1)[0]
    assert -60 / slope_db_s == pytest.approx(rt60_s, rel=0.1)


def test_reverberation_keeps_length_and_place_and_adds_a_tail():
    click = np.zeros(8000, np.float32)
    click[1000] = 1
    heard = acoustics.reverberate(click, 0.3, np.random.default_rng(0))
    assert heard.shape == click.shape and heard.dtype == np.float32
    assert np.argmax(np.abs(heard)) == 1000 and np.abs(heard[:1000]).max() < 1e-6
    direct, tail = 1.0, np.sum(heard[1001:] ** 2)
    assert 10 * np.log10(direct / tail) == pytest.approx(acoustics.DIRECT_TO_REVERBERANT_DB, abs=0.1)


def test_noises_have_their_colours():
    rng = np.random.default_rng(0)

    def band_db(samples, low_hz, high_hz):
        power = np.abs(np.fft.rfft(samples)) ** 2
        hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
        return 10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].mean())

    white, pink, hum = (acoustics.NOISES[name](1 << 16, rng) for name in ("white", "pink", "hum"))
    assert band_db(white, 500, 1000) - band_db(white, 4000, 8000) == pytest.approx(0, abs=0.5)
    assert band_db(pink, 500, 1000) - band_db(pink, 4000, 8000) == pytest.approx(9, abs=1)
    assert band_db(hum, 45, 55) - band_db(hum, 60, 90) > 10


def test_a_take_is_the_same_every_time_and_its_setting_matters(tmp_path):
    take = Take(tmp_path / "x.flac", SPOKEN[0][0], SPOKEN[0][1], Setting("white", 20.0, 0.2), seed=(1, 2))
    samples = record(take)
    assert samples.dtype == np.int16 and 100 < np.abs(samples.astype(int)).max() < 32767
    assert np.array_equal(samples, record(take))
    for setting in (Setting("babble", 20.0, 0.2), Setting("white", 5.0, 0.2), Setting("white", 20.0, 0.6)):
        other = record(Take(take.path, take.text, take.voice, setting, take.seed))
        assert other.shape == samples.shape and not np.array_equal(samples, other)


def test_takes_over_processes_equal_takes_in_one(tmp_path, monkeypatch):
    takes = [
        Take(tmp_path / f"{i}.flac", text, voice, Setting(), (i,)) for i, (text, voice) in enumerate(SPOKEN)
    ]
    durations_s = write_all(takes, "many")
    alone = [take.path.read_bytes() for take in takes]
    monkeypatch.setattr("ds2toolkit.toy.studio.TAKES_A_PROCESS", 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert write_all(takes, "many") == durations_s
    assert [take.path.read_bytes() for take in takes] == alone
    assert [soundfile.info(take.path).duration for take in takes] == pytest.approx(durations_s)


def test_sphere_files_read_back(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768, 258], np.int16)
    write_sphere(tmp_path / "x.sph", samples, 16000)
    assert (tmp_path / "x.sph").read_bytes()[1024:] == samples.astype(">i2").tobytes()
    back, rate_hz = soundfile.read(tmp_path / "x.sph", dtype="int16")
    assert rate_hz == 16000 and np.array_equal(back, samples)


def test_flac_keeps_every_sample(tmp_path):
    take = Take(tmp_path / "sub" / "x.flac", SPOKEN[0][0], SPOKEN[0][1], Setting(), (0,))
    write(take)
    assert np.array_equal(soundfile.read(take.path, dtype="int16")[0], record(take))


def test_sentences_are_short_many_and_of_few_words():
    texts = list(itertools.islice(grammar.distinct(grammar.sentence, np.random.default_rng(0)), 5000))
    assert len(set(texts)) == 5000
    assert {len(text.split()) for text in texts} <= set(range(3, 9))
    words = {word for text in texts for word in text.split()}
    assert words == grammar.vocabulary() and 60 <= len(words) <= 80
    assert {"it's", "don't", "she's", "dog's"} <= words
    assert texts[:50] == list(
        itertools.islice(grammar.distinct(grammar.sentence, np.random.default_rng(0)), 50)
    )


def test_distinct_ends_when_nothing_new_comes():
    assert sorted(grammar.distinct(lambda rng: str(rng.integers(3)), np.random.default_rng(0))) == [
        "0",
        "1",
        "2",
    ]


def test_census_lines_are_said_as_letters_and_words():
    rng = np.random.default_rng(0)
    lines = [grammar.census_line(rng) for _ in range(300)]
    assert all(line.isupper() and line.replace(" ", "").isalpha() for line in lines)
    assert any(line.startswith("RUBOUT ") for line in lines) and "YES" in lines
    assert grammar.spoken("RUBOUT A B TWO") == "rub out eigh b two"
