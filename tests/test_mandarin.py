"""The Mandarin recipe: all layouts of AISHELL-1 and THCHS-30 give the same cuts, nothing is lost unseen."""

import hashlib
import itertools
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ds2toolkit import recipe
from ds2toolkit.data.archive import unpack
from ds2toolkit.data.report import Report
from ds2toolkit.errors import ConfigError, DataError, UserError
from ds2toolkit.text.normalise import normalise, unknown
from ds2toolkit.toy import mandarin

FOLDER = Path(__file__).parents[1] / "egs" / "mandarin"
RECIPE = recipe.load(FOLDER)
TOY = RECIPE.local("toy")
SIZES = {"train": 12, "dev": 4, "test": 6}
NOBODY = "BAC009S0002W0922"  # recorded, not transcribed
DAMAGED = "S0003"


def spoken_corpus(tmp_path_factory, corpus: str) -> Path:
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    folder = tmp_path_factory.mktemp(corpus)
    TOY.toy(folder, sizes=SIZES, corpus=corpus)
    return folder


@pytest.fixture(scope="module")
def toy_aishell(tmp_path_factory) -> Path:
    return spoken_corpus(tmp_path_factory, "aishell")


@pytest.fixture(scope="module")
def toy_thchs30(tmp_path_factory) -> Path:
    return spoken_corpus(tmp_path_factory, "thchs30")


@pytest.fixture
def aishell(toy_aishell, tmp_path) -> Path:
    return Path(shutil.copytree(toy_aishell, tmp_path / "corpus"))


@pytest.fixture
def thchs30(toy_thchs30, tmp_path) -> Path:
    return Path(shutil.copytree(toy_thchs30, tmp_path / "corpus", symlinks=True))


def prepared(folder: Path, corpus: str, scratch: Path) -> tuple[dict, Report]:
    report = Report()
    return RECIPE.preparer.prepare(folder, report, scratch=scratch, corpus=corpus), report


def facts(splits: dict) -> dict[str, dict[str, tuple]]:
    """Split -> id -> normalised text, speaker, gender, condition; every cut is one whole audio file."""
    for cut in itertools.chain(*splits.values()):
        assert cut.id == cut.recording_id == cut.supervisions[0].id
        assert cut.supervisions[0].language == "Chinese"
        assert cut.load_audio().shape == (1, cut.num_samples) and cut.duration > 0.5
    return {split: {cut.id: fact(cut.supervisions[0]) for cut in cuts} for split, cuts in splits.items()}


def fact(supervision) -> tuple:
    condition = (supervision.custom or {}).get("condition")
    return normalise("mandarin", supervision.text), supervision.speaker, supervision.gender, condition


def lines_of(path: Path) -> list[list[str]]:
    return [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]


def aishell_facts(folder: Path) -> dict[str, dict[str, tuple]]:
    """What prepare() has to find, from the transcript and the numbers of the speakers alone."""
    genders = {"F": "female", "M": "male"}
    info = {f"S{who}": genders[sex] for who, sex in lines_of(folder / "resource_aishell" / "speaker.info")}
    expected: dict[str, dict] = {"train": {}, "dev": {}, "test": {}}
    for name, words in lines_of(folder / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt"):
        speaker = name[6:11]
        split = "train" if speaker < "S0724" else "dev" if speaker < "S0764" else "test"
        text = words.replace(" ", "").translate(str.maketrans("ａｂｋｔ", "abkt"))
        expected[split][name] = (text, speaker, info[speaker], info[speaker])
    return expected


def archives(folder: Path) -> list[Path]:
    return sorted((folder / "data_aishell" / "wav").glob("*.tar.gz"))


def extract(folder: Path) -> None:
    """Every speaker's archive inside wav/, as its readme asks for; the archives stay."""
    for archive in archives(folder):
        with tarfile.open(archive) as tar:
            tar.extractall(archive.parent, filter="data")


def extract_and_delete(folder: Path) -> None:
    extract(folder)
    for archive in archives(folder):
        archive.unlink()


def pack_all(folder: Path) -> None:
    wav = folder / "data_aishell" / "wav"
    for speaker in sorted(wav.glob("*/*/")):
        TOY.pack(wav, speaker.relative_to(wav))
    for split in ("train", "dev", "test"):
        (wav / split).rmdir()


def pack_outer(folder: Path, names=("data_aishell", "resource_aishell")) -> None:
    for name in names:
        with tarfile.open(folder / f"{name}.tgz", "w:gz") as tar:
            tar.add(folder / name, name)
        shutil.rmtree(folder / name)


LAYOUTS = {
    "half packed": lambda folder: None,
    "extracted": extract_and_delete,
    "extracted beside its archives": extract,
    "speakers packed": pack_all,
    "all packed": pack_outer,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_aishell_is_the_same_in_every_layout(aishell, toy_aishell, tmp_path, layout):
    LAYOUTS[layout](aishell)
    splits, report = prepared(aishell, "aishell", tmp_path / "scratch")
    assert facts(splits) == aishell_facts(toy_aishell)
    assert {split: len(cuts) for split, cuts in splits.items()} == SIZES
    assert [line[:3] for line in report.dropped] == [("train", NOBODY, "no transcript")] and not report.notes
    assert (tmp_path / "scratch").exists() == ("packed" in layout)
    again, _ = prepared(aishell, "aishell", tmp_path / "scratch")
    assert facts(again) == facts(splits)


def test_aishell_itself_may_be_named_and_its_speakers_file_may_lack(aishell, toy_aishell, tmp_path):
    link = tmp_path / "elsewhere" / "corpus"
    link.parent.mkdir()
    link.symlink_to(aishell / "data_aishell")
    assert facts(prepared(link, "aishell", tmp_path / "scratch")[0]) == aishell_facts(toy_aishell)
    (aishell / "resource_aishell" / "speaker.info").unlink()
    splits, _ = prepared(aishell, "aishell", tmp_path / "scratch")
    assert {fact[2:] for cuts in facts(splits).values() for fact in cuts.values()} == {(None, None)}


def test_an_extraction_that_was_interrupted_is_made_good_from_the_archive(aishell, toy_aishell, tmp_path):
    extract(aishell)
    first, *rest = sorted((aishell / "data_aishell" / "wav" / "train" / DAMAGED).glob("*.wav"))
    first.write_bytes(first.read_bytes()[:1000])
    for path in rest:
        path.unlink()
    splits, report = prepared(aishell, "aishell", tmp_path / "scratch")
    assert facts(splits) == aishell_facts(toy_aishell) and len(report.dropped) == 1


def changed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


DAMAGES = {
    "cut off": lambda data: data[: len(data) // 2],
    "a byte changed": changed,
    "no archive": lambda data: b"?" * 99,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_costs_its_speaker_and_leaves_nothing(aishell, toy_aishell, tmp_path, damage):
    archive = aishell / "data_aishell" / "wav" / f"{DAMAGED}.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(DAMAGES[damage](whole))
    expected = aishell_facts(toy_aishell)
    lost = [name for name, (_, speaker, *_) in expected["train"].items() if speaker == DAMAGED]
    splits, report = prepared(aishell, "aishell", tmp_path / "scratch")
    assert lost and facts(splits)["train"] == {k: v for k, v in expected["train"].items() if k not in lost}
    assert [line[1:3] for line in report.dropped[1:]] == [(name, "in a damaged archive") for name in lost]
    (note,) = report.notes
    assert note.startswith(f"left out the speaker {DAMAGED}: {archive} is damaged")
    assert not list((tmp_path / "scratch" / "speakers").glob(f"*{DAMAGED}*"))
    archive.write_bytes(whole)
    assert facts(prepared(aishell, "aishell", tmp_path / "scratch")[0]) == expected


def test_a_damaged_outer_archive_leaves_nothing(aishell, tmp_path):
    pack_outer(aishell)
    archive = aishell / "data_aishell.tgz"
    archive.write_bytes(archive.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"data_aishell\.tgz is damaged or cut off"):
        prepared(aishell, "aishell", tmp_path / "scratch")
    assert not list((tmp_path / "scratch").glob("*"))


def test_transcripts_that_do_not_fit_are_reported(aishell, tmp_path):
    path = aishell / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt"
    victim = sorted((aishell / "data_aishell" / "wav" / "dev").glob("*/*.wav"))[0]
    victim.unlink()
    lines = path.read_text(encoding="utf-8").splitlines()
    more = [lines[-1], "BAC009S0999W0001 没有 人", "BAC009S0999W0002 没有 人"]
    path.write_text("\n".join([*lines, *more, ""]), encoding="utf-8")
    splits, report = prepared(aishell, "aishell", tmp_path / "scratch")
    assert sorted(line[:3] for line in report.dropped) == sorted(
        [
            ("-", lines[-1].split()[0], "second transcript"),
            ("dev", victim.stem, "no audio file"),
            ("train", NOBODY, "no transcript"),
        ]
    )
    assert report.notes == ["2 transcripts are of speakers that this copy lacks: S0999"]
    assert len(splits["dev"]) == SIZES["dev"] - 1


def test_damaged_audio_costs_one_line_of_the_report(aishell, tmp_path):
    victim = sorted((aishell / "data_aishell" / "wav" / "test").glob("*/*.wav"))[0]
    victim.write_bytes(victim.read_bytes()[:3000])
    splits, report = prepared(aishell, "aishell", tmp_path / "scratch")
    assert ("test", victim.stem, "audio is truncated") in [line[:3] for line in report.dropped]
    assert len(splits["test"]) == SIZES["test"] - 1


def thchs30_facts(folder: Path) -> dict[str, dict[str, tuple]]:
    """From the words of the transcripts and the groups of sentences alone."""
    expected: dict[str, dict] = {"train": {}, "dev": {}, "test": {}}
    for path in (folder / "data_thchs30" / "data").glob("*.trn"):
        name = path.name.removesuffix(".wav.trn")
        words = path.read_text(encoding="utf-8").split("\n")[0].replace(" l =", "")
        text = words.replace(" ", "").translate(str.maketrans("ａｂｋｔ", "abkt"))
        split = {"A": "train", "B": "train", "C": "dev", "D": "test"}[name[0]]
        expected[split][name] = (text, name.split("_")[0], None, None)
    return expected


def test_thchs30_takes_names_from_links_and_from_texts(thchs30, toy_thchs30, tmp_path):
    root = thchs30 / "data_thchs30"
    names = ["train/A2_0", "dev/C2_0", "test/D2_0"]
    assert [(root / f"{name}.wav").is_symlink() for name in names] == [True, True, False]
    assert [(root / f"{name}.wav.trn").is_symlink() for name in names] == [True, False, False]
    assert (root / "dev" / "C2_0.wav.trn").read_text(encoding="utf-8") == "../data/C2_0.wav.trn\n"
    splits, report = prepared(thchs30, "thchs30", tmp_path / "scratch")
    assert facts(splits) == thchs30_facts(toy_thchs30)
    assert {split: len(cuts) for split, cuts in splits.items()} == SIZES and not report.dropped
    assert all(path.parent.name == "data" for path in sources(splits))
    assert facts(prepared(root, "thchs30", tmp_path / "scratch")[0]) == facts(splits)


def sources(splits: dict) -> list[Path]:
    return [Path(cut.recording.sources[0].source) for cuts in splits.values() for cut in cuts]


@pytest.mark.parametrize("form", ["link", "text"])
def test_thchs30_is_the_same_with_links_only_and_with_texts_only(thchs30, toy_thchs30, tmp_path, form):
    for split in SIZES:
        names = sorted({path.name.split(".")[0] for path in (thchs30 / "data_thchs30" / split).iterdir()})
        shutil.rmtree(thchs30 / "data_thchs30" / split)
        TOY.link(thchs30 / "data_thchs30" / split, names, form, form)
    assert facts(prepared(thchs30, "thchs30", tmp_path / "scratch")[0]) == thchs30_facts(toy_thchs30)


def test_thchs30_may_still_be_packed(thchs30, toy_thchs30, tmp_path):
    pack_outer(thchs30, ["data_thchs30"])
    assert facts(prepared(thchs30, "thchs30", tmp_path / "scratch")[0]) == thchs30_facts(toy_thchs30)


def test_the_stray_letter_of_thchs30_goes_and_is_noted(thchs30, tmp_path):
    splits, report = prepared(thchs30, "thchs30", tmp_path / "scratch")
    supervision = splits["train"]["A2_0"].supervisions[0]
    assert " l =" in supervision.custom["raw_text"] and "l" not in supervision.text
    assert report.notes == ["A2_0: took a stray ` l =` out of its transcript"]
    assert all("=" not in cut.supervisions[0].text for cuts in splits.values() for cut in cuts)


def test_what_thchs30_lacks_is_reported(thchs30, tmp_path):
    data = thchs30 / "data_thchs30" / "data"
    (data / "A2_1.wav").unlink()
    (data / "C2_0.wav.trn").unlink()
    (data / "D2_0.wav.trn").write_text("\nlao3 shi1\nl ao3 sh i1\n", encoding="utf-8")
    for name in ("A4_0.wav", "A4_0.wav.trn"):
        (thchs30 / "data_thchs30" / "train" / name).unlink()
    splits, report = prepared(thchs30, "thchs30", tmp_path / "scratch")
    assert [line[:3] for line in report.dropped] == [
        ("train", "A2_1", "no audio file"),
        ("dev", "C2_0", "no transcript"),
        ("-", "A4_0", "in no split"),
    ]
    assert splits["test"]["D2_0"].supervisions[0].text == ""


def test_wrong_folders_are_named_for_what_they_seem_to_be(aishell, toy_thchs30, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "data_aishell" / "transcript").mkdir(parents=True)
    (tmp_path / "half" / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt").touch()
    (tmp_path / "listless" / "data").mkdir(parents=True)
    (tmp_path / "listless" / "data" / "A2_0.wav.trn").touch()
    found = [
        (tmp_path / "nowhere", "aishell", r"aishell_transcript_v0\.8\.txt[\s\S]*nowhere does not exist"),
        (tmp_path / "empty", "aishell", r"transcript_v0\.8\.txt there and in data_aishell/[\s\S]*is empty"),
        (tmp_path / "empty", "thchs30", r"data/\*\.wav\.trn there and in data_thchs30/[\s\S]*is empty"),
        (aishell, "thchs30", r"no THCHS-30[\s\S]*looks like AISHELL-1[\s\S]*--corpus thchs30 is for"),
        (toy_thchs30, "aishell", r"no AISHELL-1[\s\S]*looks like THCHS-30[\s\S]*--corpus thchs30 is for"),
        (tmp_path / "half", "aishell", r"no audio in .*: looked for wav/train/[\s\S]*wav does not exist"),
        (tmp_path / "listless", "thchs30", r"has no splits: looked for train/"),
    ]
    for folder, corpus, message in found:
        with pytest.raises(DataError, match=message):
            prepared(folder, corpus, tmp_path / "scratch")
    with pytest.raises(ConfigError, match="option corpus is 'aishel'"):
        prepared(aishell, "aishel", tmp_path / "scratch")


def test_a_download_ends_in_the_folder_or_in_a_message(toy_thchs30, tmp_path, monkeypatch):
    """The real way through fetch and unpack, from a file:// address."""
    shelf = Path(shutil.copytree(toy_thchs30, tmp_path / "shelf", symlinks=True))
    pack_outer(shelf, ["data_thchs30"])
    content = (shelf / "data_thchs30.tgz").read_bytes()
    kind = RECIPE.preparer.reader("thchs30")
    monkeypatch.setattr(RECIPE.preparer, "reader", lambda corpus: kind)
    kind.URL = shelf.as_uri()
    corpus = tmp_path / "corpus"
    kind.ARCHIVES = {"data_thchs30.tgz": (len(content), "0" * 32)}
    with pytest.raises(DataError, match="came with the md5 .*\nIt was deleted"):
        RECIPE.preparer.download(corpus, ["train"], corpus="thchs30")
    assert not list(corpus.iterdir())
    kind.ARCHIVES = {"data_thchs30.tgz": (len(content), hashlib.md5(content).hexdigest())}
    RECIPE.preparer.download(corpus, ["train"], corpus="thchs30")
    assert [path.name for path in corpus.iterdir()] == ["data_thchs30"]
    assert facts(prepared(corpus, "thchs30", tmp_path / "scratch")[0]) == thchs30_facts(toy_thchs30)
    kind.URL = "nowhere://"
    RECIPE.preparer.download(corpus, ["train"], corpus="thchs30")


def test_without_a_network_the_user_hears_of_corpus_dir(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for corpus in ("aishell", "thchs30"):
        with pytest.raises(UserError, match=r"downloading http\S+/data_\w+\.tgz failed[\s\S]*--corpus-dir"):
            RECIPE.preparer.download(tmp_path, ["train"], corpus=corpus)
    assert not list(tmp_path.glob("data_*.tgz"))


@pytest.mark.parametrize("corpus", ["aishell", "thchs30"])
def test_toy_is_the_same_every_time_and_is_made_once(request, tmp_path, corpus):
    before = request.getfixturevalue(f"toy_{corpus}")
    TOY.toy(tmp_path, sizes=SIZES, corpus=corpus)
    files = {path.relative_to(before) for path in before.rglob("*")}
    assert files == {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    for name in files:
        one, other = before / name, tmp_path / name
        read = os.readlink if one.is_symlink() else Path.is_dir if one.is_dir() else Path.read_bytes
        assert read(one) == read(other), name
    shutil.rmtree(tmp_path / f"data_{corpus}")
    (tmp_path / f"data_{corpus}").mkdir()
    TOY.toy(tmp_path, sizes=SIZES, corpus=corpus)
    assert not list((tmp_path / f"data_{corpus}").iterdir())


def test_a_small_toy_has_every_quirk(tmp_path):
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    for corpus in ("aishell", "thchs30"):
        TOY.toy(tmp_path, sizes=dict.fromkeys(SIZES, 8), corpus=corpus)
    wav = tmp_path / "data_aishell" / "wav"
    for split in SIZES:
        assert list(wav.glob(f"{split}/*/*.wav"))
    packed = [unpack(path, tmp_path / path.stem) for path in archives(tmp_path)]
    assert {split.name for folder in packed for split in folder.iterdir()} == set(SIZES)
    transcript = (wav.parent / "transcript" / "aishell_transcript_v0.8.txt").read_text(encoding="utf-8")
    assert any(letter in transcript for letter in "ａｂｋｔ") and NOBODY not in transcript
    assert list(wav.rglob(f"{NOBODY}.wav"))
    assert list((tmp_path / "test-noise").rglob("*.wav"))
    audio = soundfile.info(next(wav.rglob("*.wav")))
    assert (audio.format, audio.subtype, audio.samplerate, audio.channels) == ("WAV", "PCM_16", 16000, 1)


def test_the_whole_toy_shares_neither_speakers_nor_sentences_nor_voices():
    readings = list(TOY.readings(0, TOY.SIZES))
    assert len(readings) == sum(TOY.SIZES.values()) >= 1000
    for kind in ("words", "voice"):
        sets = [{getattr(r, kind) for r in readings if r.split == split} for split in TOY.SIZES]
        assert sum(map(len, sets)) == len(set.union(*sets)), kind
    variants = [set(names.split()) for names in TOY.VARIANTS.values()]
    assert sum(map(len, variants)) == len(set.union(*variants))
    paths = [TOY.aishell_path(reading) for reading in readings]
    assert len(set(paths)) == len(paths) and all(len(path.stem) == len(NOBODY) for path in paths)
    trained = {character for r in readings if r.split == "train" for character in r.words}
    assert trained - {" "} == set("".join(mandarin.vocabulary()))


@pytest.mark.parametrize("generate", [mandarin.sentence, mandarin.sentence_with_letter])
def test_a_sentence_is_short_and_every_character_has_a_syllable(generate):
    rng = np.random.default_rng(0)
    for words in {generate(rng) for _ in range(500)}:
        assert 14 <= len(words.replace(" ", "")) <= 20 and set(words.split()) <= mandarin.vocabulary()
        assert len(mandarin.pinyin(words)) == len(words.replace(" ", ""))
        assert "".join(mandarin.phones(words)) == "".join(mandarin.pinyin(words))
        has_letter = any("ａ" <= character <= "ｚ" for character in words)
        assert has_letter == (generate is mandarin.sentence_with_letter)
        assert not unknown("mandarin", normalise("mandarin", words))


def test_the_grammar_is_small_and_no_two_characters_sound_the_same():
    characters = set("".join(mandarin.vocabulary()))
    assert 70 <= len(characters) <= 120 and characters == mandarin.PINYIN.keys()
    assert len(set(mandarin.PINYIN.values())) == len(mandarin.PINYIN)


def test_the_recipe_knows_both_corpora():
    configs = [recipe.load(FOLDER, variant).config for variant in (None, "thchs30", "toy", "thchs30-toy")]
    assert [config.options["corpus"] for config in configs] == ["aishell", "thchs30", "aishell", "thchs30"]
    assert [config.conf for config in configs] == ["ds2", "ds2", "toy", "toy"]
    assert all((config.language, config.unit) == ("mandarin", "character") for config in configs)
    for conf in ("ds2", "toy"):
        assert RECIPE.training(conf, []).model.num_rnn_layers >= 3


def test_real_aishell_loses_nobody(real_speech, tmp_path):
    splits, report = prepared(real_speech, "aishell", tmp_path / "scratch")
    assert {split: len(cuts) for split, cuts in splits.items()} == {"train": 90, "dev": 15, "test": 15}
    assert not report.dropped and not report.notes
    cuts = {cut.id: cut for cuts in splits.values() for cut in cuts}
    assert len(cuts) == 120 and all(cut.duration > 0 and cut.sampling_rate == 16000 for cut in cuts.values())
    texts = {name: normalise("mandarin", cut.supervisions[0].text) for name, cut in cuts.items()}
    assert all(text and not unknown("mandarin", text) for text in texts.values())
    assert texts["BAC009S0150W0011"] == "尚街loft时尚生活园区" and texts["BAC009S0150W0031"] == "it番愚路店"
    assert {cut.supervisions[0].speaker for cut in cuts.values()} == {"S0150"}
    inside, _ = prepared(real_speech / "data_aishell", "aishell", tmp_path / "scratch")
    assert facts(inside) == facts(splits)
