"""The toy corpora's speech, noise, rooms and sentences: exact ratios, and the same bytes every time."""

import functools
import hashlib
import itertools
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.data.sphere import decode, is_compressed
from ds2toolkit.errors import UserError
from ds2toolkit.toy import accents, acoustics, grammar, speech, studio
from ds2toolkit.toy.speech import ACCENTS, SAMPLE_RATE_HZ, Voice, speak, variants
from ds2toolkit.toy.sphere import write_sphere
from ds2toolkit.toy.studio import Setting, Take, record, write, write_all, write_samples

SPOKEN = [
    ("it's in the river", Voice("american", "f2")),
    ("the old dog is near my school", Voice("scottish", "m1", speed_wpm=190, pitch=30)),
    ("where is the king today", Voice("caribbean", "klatt", pitch_range=80)),
    ("please carry the bread now", Voice("received", "f4", speed_wpm=140)),
]


ENGLISH = (  # the phonemes that espeak-ng finds in some two thousand words of American English
    "s n t d l I r k @ E p m z 3 eI a f i N b V i: I# w v aI oU g h u: S 0 t# I2 a# 3: @L dZ tS j A@ O: aU U D T "
    "o@ e@ aa O@ i@3 O2 OI U@ i@ t2 Z @- aI3 A: r- n- ? aI@ @2"
).split()
LANGUAGES = {"indian": "hi", "german": "de", "french": "fr", "spanish": "es"}


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


@pytest.mark.parametrize("accent", accents.HABITS)
def test_foreign_accents_speak_as_long_as_natives_and_in_every_variant(accent):
    text = "the teacher is going to the market"
    native = speak(text, Voice("american"))
    assert 0.7 < len(speak(text, Voice(accent))) / len(native) < 1.4
    assert len({digest(speak(text, Voice(accent, variant))) for variant in ("m1", "f2", "Annie")}) == 3
    assert len(speak("the", Voice(accent))) < len(speak("the old dog, and the bird", Voice(accent)))


def test_foreign_accents_have_their_habits():
    the, king, with_, school = (word.split("_") for word in ("D_@", "k_'I_N", "w_I_D", "s_k_'u:_l"))
    assert accents.sounds(the, "german") == ["z", "@"] and accents.sounds(with_, "german") == ["v", "I", "s"]
    assert accents.sounds(king, "french") == ["k", "'i", "N"]
    assert accents.sounds(["h", "'3:"], "french") == ["'W", "r"]
    assert accents.sounds(school, "spanish") == ["e", "s", "k", "'u", "l"]
    assert accents.sounds(["v", "'eI", "l"], "indian") == accents.sounds(["w", "'eI", "l"], "indian")
    assert accents.respell("D_@ ; k_'I_N", "indian") == "[[d|V]] [[k|'I|N]]"


def phoneme_tables() -> dict[str, set[str]]:
    """Mnemonics by language, from espeak-ng's `phontab`: what a table inherits counts as its own."""
    data = Path(speech._loader().get_data_path(), "phontab").read_bytes()
    tables, position = [], 4
    for _ in range(data[0]):
        num_phonemes, parent, name = struct.unpack_from("<BB2x32s", data, position)
        rows = struct.iter_unpack("<4s12x", data[position + 36 : position + 36 + 16 * num_phonemes])
        own = {row[0].rstrip(b"\0").decode("latin-1") for row in rows}
        tables.append((name.rstrip(b"\0").decode(), own | (tables[parent - 1][1] if parent else set())))
        position += 36 + 16 * num_phonemes
    return dict(tables)


@pytest.mark.parametrize("accent", accents.HABITS)
def test_every_english_phoneme_has_a_sound_in_every_accent(accent):
    """What a language does not have, espeak-ng would leave out in silence."""
    known = phoneme_tables()[LANGUAGES[accent]]
    assert "@" in known and "3:" not in known
    for phoneme in ENGLISH:
        heard = accents.sounds([phoneme], accent)
        assert set(heard) <= known and (heard or (accent, phoneme) == ("french", "h")), phoneme


def test_mandarin_reads_characters_in_any_variant():
    some = ("m1", "f2", *sorted(variants())[::9])
    heard = {variant: speak("今天天气很好", Voice("mandarin", variant)) for variant in some}
    assert all(0.8 < len(samples) / SAMPLE_RATE_HZ < 3 for samples in heard.values())
    assert digest(heard["m1"]) != digest(heard["f2"])
    assert digest(speak("买", Voice("mandarin"))) != digest(speak("卖", Voice("mandarin")))


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


def test_places_differ_in_their_spectra_and_come_out_the_same_again():
    """Each kind of noise is the loudest of the four places in a band of its own."""
    def shares(name):
        noise = studio._noise(name, 4 * SAMPLE_RATE_HZ, np.random.default_rng(1))
        power = np.abs(np.fft.rfft(noise)) ** 2
        bands = np.split(power, np.searchsorted(np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE_HZ), [150, 2500]))
        return np.array([part.sum() for part in bands]) / power.sum()

    places = {name: shares(name) for name in ("bus", "cafe", "pedestrian", "street")}
    assert all(np.array_equal(share, shares(name)) for name, share in places.items())
    low, middle, high = (lambda name, band=band: places[name][band] for band in range(3))
    assert max(places, key=low) == "bus" and low("bus") > 0.6
    assert max(places, key=middle) == "street" and max(places, key=high) == "cafe"
    assert sorted(places, key=low)[2] == "pedestrian" and low("pedestrian") > 3 * low("cafe")


@pytest.mark.parametrize("num_samples", [2, 100, 70_001])
@pytest.mark.parametrize("name", acoustics.NOISES)
def test_noises_of_any_length(name, num_samples):
    noise = acoustics.NOISES[name](num_samples, np.random.default_rng(0))
    assert noise.shape == (num_samples,) and np.isfinite(noise).all() and np.any(noise)


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


@pytest.mark.parametrize(
    ("name", "magic"), [("x.flac", b"fLaC"), ("x.wav", b"RIFF"), ("x.sph", b"NIST_1A"), ("x.wv1", b"NIST_1A")]
)
def test_every_kind_of_file_keeps_every_sample(tmp_path, name, magic):
    take = Take(tmp_path / "sub" / name, SPOKEN[0][0], SPOKEN[0][1], Setting(), (0,))
    duration_s = write(take)
    assert take.path.read_bytes().startswith(magic)
    read = decode if name == "x.wv1" else functools.partial(soundfile.read, dtype="int16")
    samples, rate_hz = read(take.path)
    assert np.array_equal(samples, record(take)) and duration_s * rate_hz == len(samples)
    assert is_compressed(take.path) == (name == "x.wv1")


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="x.mp3"):
        write_samples(tmp_path / "x.mp3", np.zeros(5, np.int16))


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
