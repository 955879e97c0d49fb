"""Noise and rooms: both corpora read as they are, ratios in dB exact, speech left in its place."""

import pickle
import shutil
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ds2toolkit.config import NoiseConfig, RecipeConfig, SplitConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.corpus import read_cut
from ds2toolkit.data.noise import Noises, add_noise, reverberate
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import Recipe, load
from ds2toolkit.toy import musan, rirs
from ds2toolkit.verbs import noise

MUSAN_IDS = [
    f"musan-music-{branch}-{number:04d}"
    for branch in ("fma", "fma-western-art", "hd-classical", "jamendo", "rfm")
    for number in (0, 1)
] + [f"musan-noise-{branch}-{number:04d}" for branch in ("free-sound", "sound-bible") for number in (0, 1)]
RIRS_NOISE_IDS = [
    "rirs-noise-free-sound-0000",
    "rirs-noise-free-sound-0001",
    "rirs-RVB2014_type1_noise_largeroom1_1",
    "rirs-RWCP_type2_noise_circle_e2b_imp000",
]
ROOM_IDS = ["rirs-RVB2014_type1_rir_largeroom1_near_angla", "rirs-RWCP_type4_rir_circle_e2b_imp090"] + [
    f"rirs-{size}-Room001-{number:05d}" for size in ("large", "medium", "small") for number in (1, 2)
]


def a_recipe(folder: Path, variant: str | None = "toy", rate_hz: int = 16000) -> Recipe:
    config = RecipeConfig(SplitConfig(("a",), ("b",), ("c",)), "made up")
    return Recipe(folder, variant, replace(config, features=replace(config.features, sample_rate_hz=rate_hz)))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    musan.toy(folder)
    rirs.toy(folder)
    return folder


@pytest.fixture
def copies(corpora, tmp_path) -> Path:
    """The toy corpora, to be damaged."""
    return shutil.copytree(corpora, tmp_path / "copies")


@pytest.fixture(scope="module")
def prepared(corpora, tmp_path_factory) -> Path:
    recipe = a_recipe(tmp_path_factory.mktemp("recipe"))
    noise.run(recipe, corpora / "musan", corpora / "RIRS_NOISES", download=False)
    return recipe.data / "noise"


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Four seconds of sound with a gap, as a cut, and its samples."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(64000)
    samples[20000:30000] = 0
    path = tmp_path_factory.mktemp("speech") / "one.wav"
    soundfile.write(path, samples, 16000)
    cut = read_cut(path, "one", "a", "ann")
    return cut, cut.load_audio()[0]


def ids(path: Path) -> list[str]:
    return [cut.id for cut in cut_files.read(path)]


def snr_db(clean_T: np.ndarray, noisy_T: np.ndarray) -> float:
    energy, rest = (np.sum(np.square(x, dtype=np.float64)) for x in (clean_T, noisy_T - clean_T))
    return 10 * np.log10(energy / rest)


def test_both_corpora_are_read_with_all_their_quirks(prepared):
    assert ids(prepared / "cuts.jsonl.gz") == MUSAN_IDS + RIRS_NOISE_IDS
    assert ids(prepared / "rirs.jsonl.gz") == ROOM_IDS
    for cut in (*cut_files.read(prepared / "cuts.jsonl.gz"), *cut_files.read(prepared / "rirs.jsonl.gz")):
        samples = cut.load_audio()
        assert samples.shape == (1, cut.num_samples) and samples.any()
        first = soundfile.read(cut.recording.sources[0].source, dtype="float32", always_2d=True)[0][:, 0]
        assert np.array_equal(samples[0], first)


def test_it_says_what_was_found_and_what_was_not(copies, tmp_path, capsys):
    truncated = copies / "musan/noise/free-sound/noise-free-sound-0001.wav"
    truncated.write_bytes(truncated.read_bytes()[:-1000])
    (copies / "RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00002.wav").unlink()
    recipe = a_recipe(tmp_path)
    noise.run(recipe, copies, copies, download=False)
    said = capsys.readouterr().out
    assert "10 pieces of music, 3 noises; its speech is not used" in said
    assert "2 point-source and 2 isotropic noises; 2 real and 5 simulated rooms" in said
    assert "ending too soon: 1, the first" in said and str(truncated) in said
    assert "neither *rir* nor *noise*: 1, the first air_type1_air_binaural_booth_0_1_1.wav" in said
    assert "the first one is used: 2 files" in said
    assert "smallroom/rir_list but not there: 1, the first Room001-00002.wav" in said
    assert "17 noises (0.03 hours) and 7 rooms at 16000 Hz" in said
    assert "musan-noise-free-sound-0001" not in ids(recipe.data / "noise/cuts.jsonl.gz")


def test_one_corpus_will_do_and_the_other_of_an_earlier_run_goes(corpora, tmp_path):
    recipe = a_recipe(tmp_path)
    noise.run(recipe, None, corpora / "RIRS_NOISES", download=False)
    assert ids(recipe.data / "noise/cuts.jsonl.gz") == RIRS_NOISE_IDS
    noise.run(recipe, corpora / "musan", None, download=False)
    assert [path.name for path in (recipe.data / "noise").glob("*.gz")] == ["cuts.jsonl.gz"]
    assert ids(recipe.data / "noise/cuts.jsonl.gz") == MUSAN_IDS


def test_a_toy_recipe_makes_its_own_and_another_is_told_how(tmp_path):
    recipe = a_recipe(tmp_path, "thchs30-toy")
    noise.run(recipe, None, None, download=False)
    assert ids(recipe.data / "noise/cuts.jsonl.gz") == MUSAN_IDS + RIRS_NOISE_IDS
    with pytest.raises(UserError, match=r"--musan DIR, --rirs DIR or both, or --noises DIR; or --download.*11 GB"):
        noise.run(a_recipe(tmp_path, None), None, None, download=False)


def test_toy_corpora_have_the_same_bytes_each_time_and_stay(corpora, tmp_path):
    musan.toy(tmp_path)
    rirs.toy(tmp_path)
    files = {path.relative_to(corpora): path.read_bytes() for path in corpora.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    (tmp_path / "musan/README").write_text("mine", encoding="utf-8")
    musan.toy(tmp_path)
    assert (tmp_path / "musan/README").read_text(encoding="utf-8") == "mine"


def empty_file(copies: Path) -> str:
    path = copies / "musan/music/rfm/music-rfm-0000.wav"
    path.write_bytes(b"")
    return rf"{path}: audio is empty"


def no_audio(copies: Path) -> str:
    path = copies / "RIRS_NOISES/simulated_rirs/largeroom/Room001/Room001-00001.wav"
    path.write_bytes(b"not a wav at all")
    return rf"{path}: audio cannot be read"


def missing_music(copies: Path) -> str:
    path = copies / "musan/music/fma/music-fma-0001.wav"
    path.unlink()
    return rf"{path} is missing, but .*ANNOTATIONS names it"


def short_annotation(copies: Path) -> str:
    path = copies / "musan/music/jamendo/ANNOTATIONS"
    path.write_text("music-jamendo-0000 folk\n", encoding="utf-8")
    return rf"{path}: expected `id genres Y|N artist`, found 'music-jamendo-0000 folk'".replace("|", r"\|")


def no_annotations(copies: Path) -> str:
    for path in (copies / "musan/music").rglob("ANNOTATIONS"):
        path.unlink()
    return r"no ANNOTATIONS file below .*music"


def no_noise(copies: Path) -> str:
    shutil.rmtree(copies / "musan/noise")
    return r"no whole musan at .*musan: no .wav below its noise; .*musan looks like MUSAN"


def no_rooms(copies: Path) -> str:
    shutil.rmtree(copies / "RIRS_NOISES/simulated_rirs/smallroom")
    shutil.rmtree(copies / "RIRS_NOISES/simulated_rirs/mediumroom")
    shutil.rmtree(copies / "RIRS_NOISES/simulated_rirs/largeroom")
    return r"no whole RIRS_NOISES at .*: no .wav below its simulated_rirs; "


def swapped(copies: Path) -> str:
    (copies / "musan").rename(copies / "other")
    (copies / "RIRS_NOISES").rename(copies / "musan")
    return r"no whole musan at .*: no .wav below its music, noise; .*musan looks like RIRS_NOISES"


def not_there(copies: Path) -> str:
    shutil.rmtree(copies / "musan")
    return r"musan does not exist"


DAMAGES = (
    *(empty_file, no_audio, missing_music, short_annotation, no_annotations),
    *(no_noise, no_rooms, swapped, not_there),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_folder_that_is_wrong_or_half_there_is_named(damage, copies, tmp_path):
    message = damage(copies)
    with pytest.raises(DataError, match=message) as raised:
        noise.run(a_recipe(tmp_path), copies / "musan", copies / "RIRS_NOISES", download=False)
    assert str(raised.value).count("\n") <= 1
    assert not (tmp_path / "toy/data/noise").exists()


@pytest.fixture
def archives(corpora, tmp_path):
    """The URL of a server of this machine that has both toy corpora packed as OpenSLR packs them."""
    shutil.make_archive(tmp_path / "served/musan", "gztar", corpora, "musan")
    shutil.make_archive(tmp_path / "served/rirs_noises", "zip", corpora, "RIRS_NOISES")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_both_corpora_are_downloaded_once_and_unpacked(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(noise, "MUSAN_URL", f"{archives}/musan.tar.gz")
    monkeypatch.setattr(noise, "RIR_NOISE_ZIP_URL", f"{archives}/rirs_noises.zip")
    recipe = a_recipe(tmp_path / "recipe", None)
    noise.run(recipe, None, None, download=True)
    assert ids(recipe.data / "noise/cuts.jsonl.gz") == MUSAN_IDS + RIRS_NOISE_IDS
    assert ids(recipe.data / "noise/rirs.jsonl.gz") == ROOM_IDS
    assert sorted(path.name for path in (recipe.work / "corpus-noise").iterdir()) == ["RIRS_NOISES", "musan"]
    shutil.rmtree(tmp_path / "served")
    noise.run(recipe, None, None, download=True)
    with pytest.raises(UserError, match="rirs_noises.zip failed"):
        noise.run(a_recipe(tmp_path / "other", None), recipe.work / "corpus-noise/musan", None, download=True)


def test_a_damaged_zip_leaves_nothing(tmp_path):
    archive = tmp_path / "rirs_noises.zip"
    archive.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="is damaged"):
        noise.unzip(archive, tmp_path / "RIRS_NOISES")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


@pytest.mark.parametrize("ratio_db", [-5.0, 0.0, 12.5, 25.0])
def test_the_ratio_is_exact(prepared, speech, ratio_db):
    cut, clean_T = speech
    noises = Noises.load(prepared, NoiseConfig(fraction=1.0, snr_db=(ratio_db, ratio_db)), 16000)
    for seed in range(8):
        noisy_T = noises(cut, seed)
        assert noisy_T.shape == clean_T.shape and noisy_T.dtype == np.float32
        assert snr_db(clean_T, noisy_T) == pytest.approx(ratio_db, abs=0.01)


def test_ratios_and_noises_are_spread_and_the_fraction_is_kept(prepared, speech):
    cut, clean_T = speech
    noises = Noises.load(prepared, NoiseConfig(fraction=0.4, snr_db=(5.0, 25.0)), 16000)
    noisy = [one for one in (noises(cut, seed) for seed in range(500)) if one is not None]
    assert len(noisy) == pytest.approx(200, abs=45)  # four standard deviations
    ratios = [snr_db(clean_T, one) for one in noisy]
    assert min(ratios) > 4.99 and max(ratios) < 25.01 and np.mean(ratios) == pytest.approx(15, abs=2)
    assert min(ratios) < 7 and max(ratios) > 23


def test_a_seed_draws_the_same_and_another_draws_other(prepared, speech):
    cut, _ = speech
    config = NoiseConfig(fraction=1.0, reverb_fraction=1.0)
    noises = Noises.load(prepared, config, 16000)
    again = pickle.loads(pickle.dumps(noises))
    drawn = [noises(cut, seed) for seed in range(6)]
    assert all(np.array_equal(one, again(cut, seed)) for seed, one in enumerate(drawn))
    assert len({one.tobytes() for one in drawn}) == 6


def test_reverberation_keeps_length_energy_and_place(prepared, speech):
    cut, clean_T = speech
    noises = Noises.load(prepared, NoiseConfig(reverb_fraction=1.0), 16000)
    assert noises.noises == ()
    for room in noises.rooms:  # the one whose direct sound is negative too
        wet_T = replace(noises, rooms=(room,))(cut, 0)
        assert wet_T.shape == clean_T.shape and wet_T.dtype == np.float32
        assert np.sum(wet_T**2) == pytest.approx(np.sum(clean_T**2), rel=1e-4)
        lags = np.fft.irfft(np.fft.rfft(wet_T) * np.fft.rfft(clean_T).conj())
        assert np.abs(lags).argmax() == 0 and lags[0] > 0
        assert np.abs(wet_T - clean_T).max() > 0.01


def test_noise_comes_after_the_room_at_its_ratio(prepared, speech):
    cut, _ = speech
    wet_T = Noises.load(prepared, NoiseConfig(reverb_fraction=1.0), 16000)(cut, 3)
    noisy_T = Noises.load(prepared, NoiseConfig(1.0, (9.0, 9.0), 1.0), 16000)(cut, 3)
    assert snr_db(wet_T, noisy_T) == pytest.approx(9.0, abs=0.01)


def test_a_short_noise_is_repeated(prepared, speech):
    cut, clean_T = speech
    noises = Noises.load(prepared, NoiseConfig(1.0, (0.0, 0.0)), 16000)
    short = replace(noises, noises=tuple(one for one in noises.noises if one.id == "musan-noise-free-sound-0001"))
    added_T, period = short(cut, 1) - clean_T, short.noises[0].num_samples
    assert period < len(clean_T) and np.allclose(added_T[period:], added_T[:-period], atol=1e-6)
    assert not np.allclose(added_T, short(cut, 2) - clean_T, atol=1e-3)


def test_silence_stays_as_it_is():
    silent, sound = np.zeros(1000, np.float32), np.ones(1000, np.float32)
    assert add_noise(silent, sound, 10.0) is silent and add_noise(sound, silent, 10.0) is sound
    assert reverberate(silent, sound) is silent and reverberate(sound, silent) is sound


def test_a_silent_utterance_stays_clean(prepared, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(32000), 16000)
    noises = Noises.load(prepared, NoiseConfig(fraction=1.0, reverb_fraction=1.0), 16000)
    assert noises(read_cut(tmp_path / "silent.wav", "silent", "a", "ann"), 0) is None


def test_nothing_asked_for_reads_and_changes_nothing(tmp_path, speech):
    noises = Noises.load(tmp_path, NoiseConfig(), 16000)
    assert all(noises(speech[0], seed) is None for seed in range(20))


def test_what_is_not_prepared_moved_or_of_another_rate_is_named(prepared, corpora, speech, copies, tmp_path):
    config = NoiseConfig(fraction=1.0)
    with pytest.raises(DataError, match=r"cuts.jsonl.gz does not exist.*\nRun: ds2 noise"):
        Noises.load(tmp_path, config, 16000)
    with pytest.raises(DataError, match="is for 16000 Hz, the features want 8000 Hz"):
        Noises.load(prepared, config, 8000)
    noise.run(a_recipe(tmp_path, rate_hz=8000), copies / "musan", copies / "RIRS_NOISES", download=False)
    slow = Noises.load(tmp_path / "toy/data/noise", NoiseConfig(1.0, (10.0, 10.0), 1.0), 8000)
    with pytest.raises(DataError, match="noise is for 8000 Hz, one has 16000 Hz"):
        slow(speech[0], 0)
    assert slow(speech[0].resample(8000), 0).shape == (32000,)
    shutil.rmtree(copies)
    with pytest.raises(DataError, match=r"\.wav cannot be read .*\nRun ds2 noise again"):
        slow(speech[0].resample(8000), 0)


def test_real_speech_in_real_noise_is_at_its_ratio(real_speech, tmp_path):
    clips = sorted((real_speech / "noise").glob("*.flac"))[:8]
    folder = tmp_path / "noise"
    cut_files.write([read_cut(path, path.stem, "", "") for path in clips], folder / "cuts.jsonl.gz")
    noises = Noises.load(folder, NoiseConfig(1.0, (10.0, 10.0)), 16000)
    path = next((real_speech / "LibriSpeech").rglob("*.flac"))
    cut = read_cut(path, path.stem, "", "")
    for seed in range(4):
        assert snr_db(cut.load_audio()[0], noises(cut, seed)) == pytest.approx(10.0, abs=0.01)


def test_what_was_prepared_stays_where_no_corpus_is_named(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(
        "title: t\nsplits: {train: [a], dev: [b], test: [c]}\nvariants: {toy: {}}\n", encoding="utf-8"
    )
    recipe = load(tmp_path, "toy")
    noise.run(recipe, None, None, False)
    written = (recipe.data / "noise" / "cuts.jsonl.gz").stat().st_mtime_ns
    capsys.readouterr()
    noise.run(recipe, None, None, False)
    assert "is there already" in capsys.readouterr().out
    assert (recipe.data / "noise" / "cuts.jsonl.gz").stat().st_mtime_ns == written
