"""The CHiME recipe: both layouts, every source of transcripts, the channel; nothing is lost without a word."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ds2toolkit import recipe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import ConfigError, DataError
from ds2toolkit.text.normalise import normalise
from ds2toolkit.toy.grammar import vocabulary

RECIPE = recipe.load(Path(__file__).parents[1] / "egs" / "chime")
SPLITS = "tr05_real tr05_simu tr05_bth tr05_org dt05_real dt05_simu dt05_bth et05_real et05_simu et05_bth".split()
SIZES = dict.fromkeys(SPLITS, 8)
ONE_CHANNEL = "isolated_1ch_track"
PLACES = {"BUS": "bus", "CAF": "cafe", "PED": "pedestrian", "STR": "street", "BTH": "booth", "ORG": None}
ENDS = {0: " period", 1: r"\.PERIOD"}
CHANNEL_MISSING = ("tr05_real", "M01_013C0201_PED_REAL", "channel is missing", "no CH5, only CH0 CH1 CH2 CH3 CH4 CH6")


@pytest.fixture(scope="session")
def toy_chime3(tmp_path_factory) -> Path:
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    folder = tmp_path_factory.mktemp("toy_chime3")
    RECIPE.local("toy").toy(folder, sizes=SIZES)
    return folder


@pytest.fixture(scope="session")
def toy_chime4(tmp_path_factory) -> Path:
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    folder = tmp_path_factory.mktemp("toy_chime4")
    RECIPE.local("toy").toy(folder, sizes=SIZES, track=ONE_CHANNEL)
    return folder


def copied(root: Path, folder: Path, *without: str) -> Path:
    """A copy whose audio is linked, so that it has to be unlinked before it is changed."""

    def copy(source: str, target: str) -> None:
        os.link(source, target) if source.endswith(".wav") else shutil.copyfile(source, target)

    return Path(shutil.copytree(root, folder, copy_function=copy, ignore=shutil.ignore_patterns(*without)))


@pytest.fixture
def copy3(toy_chime3, tmp_path) -> Path:
    return copied(toy_chime3 / "CHiME3", tmp_path / "copy")


@pytest.fixture
def copy4(toy_chime4, tmp_path) -> Path:
    return copied(toy_chime4 / "CHiME4", tmp_path / "copy")


def prepared(folder: Path, **options) -> tuple[dict, Report]:
    report = Report()
    return RECIPE.preparer.prepare(folder, report, **options), report


def facts(splits: dict) -> dict:
    """Everything that a user sees of an utterance, but for the audio."""
    supervisions = ((split, cut.supervisions[0]) for split, cuts in splits.items() for cut in cuts)
    return {
        (split, one.id): (
            normalise("english", one.text),
            one.custom["raw_text"],
            one.speaker,
            one.gender,
            one.custom.get("condition"),
        )
        for split, one in supervisions
    }


def expected(kinds: str) -> dict:
    """The same by the script of the toy corpus, which prepare() does not read."""
    result = {}
    for one in RECIPE.local("script").plan(0, SIZES):
        if one.kind in kinds.split():
            utterance_id = one.name + {"real": "_REAL", "simu": "_SIMU"}.get(one.kind, "")
            gender = {"F": "female", "M": "male"}.get(one.speaker[0])
            result[one.split, utterance_id] = (one.words, one.dot, one.speaker, gender, PLACES[one.place])
    del result[CHANNEL_MISSING[:2]]
    return result


def files(splits: dict, root: Path) -> set[str]:
    sources = (Path(cut.recording.sources[0].source) for cuts in splits.values() for cut in cuts)
    return {path.relative_to(root / "data/audio/16kHz").as_posix() for path in sources}


def endings(splits: dict) -> set[str]:
    return {Path(cut.recording.sources[0].source).name.partition(".")[2] for cuts in splits.values() for cut in cuts}


def test_chime3_is_taken_whole(toy_chime3):
    splits, report = prepared(toy_chime3)
    assert list(splits) == SPLITS
    found = facts(splits)
    assert found == expected("real simu bth org")
    assert found["tr05_simu", "012_012C0201_CAF_SIMU"] == (
        "the old girl wanted the basket", "[loud_breath] The old girl wanted the basket", "012", None, "cafe",
    )  # fmt: skip
    assert {key[1] for key in found if key[0] == "et05_real"} == {
        "F05_440C0201_BUS_REAL", "F06_440C0201_CAF_REAL", "M05_440C0201_PED_REAL", "M06_440C0201_STR_REAL",
        "F06_441C0201_BUS_REAL", "M05_441C0201_CAF_REAL", "M06_441C0201_PED_REAL", "F05_441C0201_STR_REAL",
    }  # fmt: skip
    assert report.dropped == [CHANNEL_MISSING]
    assert report.notes == [
        "tr05_real: 1 utterances kept whose CH5 correlates below 0.8 with the others",
        "tr05_simu: no tr05_simu.dot_all; 8 texts from WSJ0's .dot files",
        "tr05_org: no tr05_org.dot_all; 8 texts from WSJ0's .dot files",
        "dt05_real: 1 utterances kept whose CH5 correlates below 0.8 with the others",
        "dt05_simu: no dt05_simu.dot_all; 8 texts from dt05_simu.json",
        "et05_real: 1 utterances kept whose CH5 correlates below 0.8 with the others",
    ]


def test_chime4_is_taken_whole_and_what_it_lacks_is_noted(toy_chime4):
    splits, report = prepared(toy_chime4, track=ONE_CHANNEL)
    assert facts(splits) == expected("real simu")
    assert report.dropped == [CHANNEL_MISSING]
    absent = [note for note in report.notes if note.endswith(": no audio in this copy")]
    assert [note.partition(":")[0] for note in absent] == ["tr05_bth", "tr05_org", "dt05_bth", "et05_bth"]
    same, _ = prepared(toy_chime4)
    assert facts(same) == facts(splits) and endings(same) == {"CH5.wav"}


def test_recipe_names_the_three_rows_and_the_one_channel_variant(toy_chime3, toy_chime4):
    assert RECIPE.config.splits.test == ("et05_real", "et05_simu", "et05_bth")
    assert set(RECIPE.config.splits) <= set(prepared(toy_chime3)[0])
    variant = recipe.load(RECIPE.folder, "1ch")
    splits = variant.call(variant.preparer.prepare, toy_chime4, Report())
    assert set(splits) == set(variant.config.splits) and "wav" in endings(splits)
    for name in (None, "toy", "1ch", "1ch-toy"):
        training = recipe.load(RECIPE.folder, name).training(None, [])
        assert training.noise.fraction == 0.4


def test_verbalised_punctuation_is_in_the_simulated_sets_only(toy_chime3):
    found = facts(prepared(toy_chime3)[0])
    written, spoken = ({key for key, facts in found.items() if facts[n].endswith(end)} for n, end in ENDS.items())
    assert written == spoken == {("tr05_simu", "015_015C0201_CAF_SIMU"), ("tr05_org", "015_015C0201_ORG")}
    words = {word for text, *_ in found.values() for word in text.split()}
    assert words <= vocabulary() | {"period"}


def test_speakers_and_sentences_of_a_part_occur_in_no_other(toy_chime3):
    splits, _ = prepared(toy_chime3)
    for kind in ("speaker", "text"):
        parts = [
            {getattr(cut.supervisions[0], kind) for name in SPLITS if name.startswith(part) for cut in splits[name]}
            for part in ("tr05", "dt05", "et05")
        ]
        assert sum(map(len, parts)) == len(set.union(*parts))


def test_toy_has_the_channels_of_the_real_corpus(toy_chime3, toy_chime4):
    for folder, chime4 in ((toy_chime3 / "CHiME3", False), (toy_chime4 / "CHiME4", True)):
        audio = folder / "data/audio/16kHz"
        names = {path.relative_to(audio / "isolated").as_posix() for path in audio.glob("isolated/*/*")}
        wanted = set()
        for one in RECIPE.local("script").plan(0, SIZES):
            channels = {"real": "0123456", "bth": "0123456", "simu": "123456", "org": ""}[one.kind]
            if one.kind in ("real", "simu") or not chime4:
                name = f"{one.folder}/{one.name}"
                wanted |= {f"{name}.CH{channel}.wav" for channel in channels} or {f"{name}.wav"}
        broken = {"tr05_ped_real/M01_013C0201_PED.CH5.wav", "tr05_str_real/M02_014C0201_STR.CH4.wav"}
        assert names == wanted - broken
        chosen = {path.relative_to(audio / ONE_CHANNEL).as_posix() for path in audio.glob(f"{ONE_CHANNEL}/*/*")}
        recorded = {name.replace(".CH5", "") for name in wanted if ".CH5" in name and not name.startswith("tr05")}
        assert chosen == (recorded if chime4 else set())
        info = soundfile.info(next(audio.glob("isolated/et05_str_simu/*")))
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 16000, 1)


def test_toy_brings_its_wsj0_and_all_that_the_recipe_passes_over(toy_chime3):
    data = toy_chime3 / "CHiME3/data"
    dots = {path.name: path for path in data.glob("WSJ0/wsj0/transcrp/dots/si_tr_s/*/*.dot")}
    text = dots["012c0200.dot"].read_text(encoding="utf-8")
    assert text == "[loud_breath] The old girl wanted the basket (012c0201)\n" and len(dots) == 8
    index = (data / "WSJ0/wsj0/doc/indices/train/tr_s_wv1.ndx").read_text(encoding="utf-8")
    assert "\n11_1_1:wsj0/si_tr_s/011/011c0201.wv1\n" in index
    wv1 = (data / "WSJ0/wsj0/si_tr_s/011/011c0201.wv1").read_bytes()
    assert wv1.startswith(b"NIST_1A\n") and b"embedded-shorten" in wv1[:1024]
    assert not (data / "transcriptions/tr05_simu.dot_all").exists() and (data / "annotations/mic_error.csv").exists()
    for folder in ("backgrounds", "embedded", "enhanced"):
        assert any((data / "audio/16kHz" / folder).rglob("*.wav"))
    entry = json.loads((data / "annotations/et05_simu.json").read_text(encoding="utf-8"))[1]
    assert (entry["speaker"], entry["wsj_name"], entry["environment"]) == ("F05", "440C0201", "CAF")
    assert entry["noise_wavfile"] == "BGD_150205_010_CAF" and entry["dot"] == r"It\'s under her bread again"


def test_toy_is_the_same_every_time_and_is_made_once(toy_chime4, tmp_path):
    toy = RECIPE.local("toy").toy
    toy(tmp_path, sizes=SIZES, track=ONE_CHANNEL)
    ours, theirs = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path, toy_chime4)
    )
    assert ours == theirs
    (tmp_path / "CHiME4/data/annotations/mic_error.csv").unlink()
    toy(tmp_path, sizes=SIZES, track=ONE_CHANNEL)
    assert not (tmp_path / "CHiME4/data/annotations/mic_error.csv").exists()


def test_the_cast_of_the_whole_toy_corpus():
    sizes = RECIPE.local("toy").SIZES
    utterances = list(RECIPE.local("script").plan(0, sizes))
    assert {split: sum(one.split == split for one in utterances) for split in SPLITS} == sizes
    assert len({(one.split, one.name) for one in utterances}) == len(utterances)
    for split in ("tr05_simu", "et05_real", "et05_simu"):
        places = [one.place for one in utterances if one.split == split]
        assert {places.count(place) for place in ("BUS", "CAF", "PED", "STR")} == {sizes[split] // 4}
    voices = [
        {one.voice.variant for one in utterances if one.split.startswith(part)} for part in ("tr05", "dt05", "et05")
    ]
    assert len(set.union(*voices)) == sum(map(len, voices)) >= 30


def floor_db(cuts) -> dict[str, float]:
    """How far the first tenth of a second, in which nobody speaks, lies below the whole, by place."""
    floors: dict[str, list[float]] = {}
    for cut in cuts:
        samples = cut.load_audio()[0].astype(np.float64)
        floor = 10 * np.log10(np.mean(samples[:1600] ** 2) / np.mean(samples**2))
        floors.setdefault(cut.supervisions[0].custom["condition"], []).append(floor)
    return {place: float(np.mean(values)) for place, values in floors.items()}


def test_what_the_conditions_are_called_can_be_heard(toy_chime3):
    splits, _ = prepared(toy_chime3)
    booth, real, simu = (floor_db(splits[name]) for name in ("et05_bth", "et05_real", "et05_simu"))
    assert set(real) == set(simu) == {"bus", "cafe", "pedestrian", "street"} and booth["booth"] < -35
    assert min(real.values()) > -25 and min(simu.values()) > -25
    assert simu["bus"] > simu["pedestrian"] + 3
    spectra = [np.abs(np.fft.rfft(cut.load_audio()[0][:1600])) for cut in splits["et05_simu"][:4]]
    assert min(np.corrcoef(spectra)[np.triu_indices(4, 1)]) < 0.9
    close = floor_db(prepared_without_simulation(toy_chime3)["et05_real"])
    assert all(close[place] < real[place] - 6 for place in real), (close, real)


def prepared_without_simulation(toy: Path) -> dict:
    """Channel 0 of a copy without simulated sets."""
    root = toy.with_name(toy.name + "_recorded")
    if not root.exists():
        copied(toy, root, "*_simu")
    return prepared(root, channel=0)[0]


def test_the_channel_is_an_option(toy_chime3):
    splits, report = prepared(toy_chime3, channel=4)
    assert endings(splits) == {"CH4.wav", "wav"} and set(splits) == set(SPLITS)
    assert [line[:3] for line in report.dropped] == [("tr05_real", "M02_014C0201_STR_REAL", "channel is missing")]
    assert not any("correlates" in note for note in report.notes)
    by_five, _ = prepared(toy_chime3)
    assert set(by_five["et05_real"].ids) == set(splits["et05_real"].ids)
    loud, quiet = (np.std(prepared(toy_chime3, channel=c)[0]["et05_bth"][0].load_audio()) for c in (5, 2))
    assert quiet < loud / 2


def test_the_close_talking_microphone_was_not_simulated(toy_chime3):
    with pytest.raises(ConfigError, match="tr05_simu has CH1 to CH6.*\n.*--option channel"):
        prepared(toy_chime3, channel=0)
    splits = prepared_without_simulation(toy_chime3)
    assert set(splits) == {split for split in SPLITS if not split.endswith("simu")}
    assert endings(splits) == {"CH0.wav", "wav"}


@pytest.mark.parametrize("options", [{"channel": 7}, {"channel": "CH5"}, {"track": "isolated_2ch_track"}])
def test_unknown_options_are_refused(toy_chime3, options):
    with pytest.raises(ConfigError, match=f"option {next(iter(options))}: expected"):
        prepared(toy_chime3, **options)


def test_the_one_channel_track_is_of_dt05_and_et05(toy_chime4):
    root = toy_chime4 / "CHiME4"
    paths = files(prepared(toy_chime4, track=ONE_CHANNEL)[0], root)
    training = {path for path in paths if re.fullmatch(r"isolated/tr05_\w{3}_(real|simu)/\w+\.CH5\.wav", path)}
    chosen = {path for path in paths if re.fullmatch(ONE_CHANNEL + r"/[de]t05_\w{3}_(real|simu)/\w+\.wav", path)}
    assert training | chosen == paths and (len(training), len(chosen)) == (15, 32)


def test_a_copy_without_the_one_channel_track_says_so(toy_chime3):
    looked_for = rf"no CHiME-4 in .*: looked for data/audio/16kHz/{ONE_CHANNEL}/\*/\*.wav[\s\S]*isolated\."
    with pytest.raises(DataError, match=looked_for):
        prepared(toy_chime3, track=ONE_CHANNEL)


def test_development_and_test_may_lie_in_the_six_channel_track(copy4):
    audio = copy4 / "data/audio/16kHz"
    before = facts(prepared(copy4)[0])
    for folder in audio.glob("isolated/[de]t05*"):
        (audio / "isolated_6ch_track").mkdir(exist_ok=True)
        folder.rename(audio / "isolated_6ch_track" / folder.name)
    splits, report = prepared(copy4)
    assert facts(splits) == before
    assert "et05_simu: from isolated_6ch_track, isolated has none of it" in report.notes


def test_text_of_the_simulated_training_set_is_that_of_wsj0(copy3):
    [dot] = copy3.glob("data/WSJ0/wsj0/transcrp/dots/si_tr_s/012/*.dot")
    dot.write_text("not a line of a transcript\nSomething *else* (012C0201)\n", encoding="utf-8")
    (copy3 / "data/WSJ0/wsj0").rename(copy3 / "data/WSJ0/11-10.1")
    dot = next(copy3.rglob("012c0200.dot"))
    dot.rename(dot.with_name("012C0200.DOT"))
    found = facts(prepared(copy3)[0])
    assert found["tr05_simu", "012_012C0201_CAF_SIMU"][:2] == ("something else", "Something *else*")
    assert found["tr05_real", "F03_012C0201_CAF_REAL"][0] == "the old girl wanted the basket"


def test_wsj0_may_lie_beside_the_copy(copy3):
    before = facts(prepared(copy3)[0])
    (copy3 / "data/WSJ0").rename(copy3.parent / "WSJ0")
    splits, report = prepared(copy3)
    assert facts(splits) == before
    assert "tr05_simu: no tr05_simu.dot_all; 8 texts from WSJ0's .dot files" in report.notes


def test_without_wsj0_the_annotations_have_the_text(copy3):
    before = facts(prepared(copy3)[0])
    shutil.rmtree(copy3 / "data/WSJ0/wsj0/transcrp/dots/si_tr_s/012")
    splits, report = prepared(copy3)
    assert facts(splits) == before
    [note] = [note for note in report.notes if note.startswith("tr05_simu")]
    assert note.endswith("; 7 texts from WSJ0's .dot files and 1 texts from tr05_simu.json")
    shutil.rmtree(copy3 / "data/WSJ0")
    shutil.rmtree(copy3 / "data/transcriptions")
    splits, report = prepared(copy3)
    assert facts(splits) == before
    for split in SPLITS:
        assert any(note.startswith(f"{split}: no {split}.dot_all; 8 texts from {split}.json") for note in report.notes)


def test_without_any_text_the_message_names_what_was_looked_for(copy3):
    (copy3 / "data/annotations/tr05_simu.json").unlink()
    shutil.rmtree(copy3 / "data/WSJ0")
    message = r"no transcripts of tr05_simu: looked for .*tr05_simu.dot_all and .*tr05_simu.json\.\n.*link WSJ0"
    with pytest.raises(DataError, match=message):
        prepared(copy3)


@pytest.mark.parametrize("content", ["[{", '{"speaker": "F01"}', '[{"speaker": "F01", "wsj_name": "050C0201"}]', "[3]"])
def test_damaged_annotations_are_an_error_with_their_path(copy3, content):
    (copy3 / "data/annotations/dt05_simu.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="dt05_simu.json is not CHiME's list of annotations"):
        prepared(copy3)


def test_transcripts_that_do_not_fit_are_reported(copy3):
    path = copy3 / "data/transcriptions/et05_bth.dot_all"
    first, second, *rest = path.read_text(encoding="utf-8").splitlines()
    name = second.rpartition("(")[2].strip(")")
    lines = [first, first, "no id at all", "Text (F05_449C0201_BTH)", "Text (readme)", f"~~ ({name})", *rest[1:]]
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    _, report = prepared(copy3)
    lost = rest[0].rpartition("(")[2].strip(")")
    assert sorted(line[1:3] for line in report.dropped if line[0] == "et05_bth") == sorted(
        [
            (first.rpartition("(")[2].strip(")"), "second transcript"),
            ("-", "malformed transcript"),
            ("F05_449C0201_BTH", "no audio file"),
            ("readme", "unexpected name"),
            (lost, "no transcript"),
        ]
    )
    splits, _ = prepared(copy3)
    assert next(cut for cut in splits["et05_bth"] if cut.id == name).supervisions[0].text == ""


def test_damaged_and_missing_audio_is_reported(copy3):
    folder = copy3 / "data/audio/16kHz/isolated/et05_bth"
    cut, lost, *_ = sorted(folder.glob("*.CH5.wav"))
    data = cut.read_bytes()
    cut.unlink()  # other names are links to the same file
    cut.write_bytes(data[: len(data) // 2])
    for path in folder.glob(lost.name.replace("CH5", "*")):
        path.unlink()
    _, report = prepared(copy3)
    names = [path.name.partition(".")[0] for path in (cut, lost)]
    assert [line[:3] for line in report.dropped if line[0] == "et05_bth"] == [
        ("et05_bth", names[0], "audio is truncated"),
        ("et05_bth", names[1], "no audio file"),
    ]


@pytest.mark.parametrize("content", ["", "no table\n", "head,1,2,3,4,5,6\nF02_011C0201_BUS,a,b\n"])
def test_a_table_of_microphones_that_is_none_does_no_harm(copy3, content):
    (copy3 / "data/annotations/mic_error.csv").write_text(content, encoding="utf-8")
    _, report = prepared(copy3)
    assert report.dropped == [CHANNEL_MISSING] and not any("correlates" in note for note in report.notes)


def test_a_wrong_folder_is_named_for_what_it_seems_to_be(tmp_path, copy3):
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/CHiME3.tar.gz").touch()
    copied(copy3 / "data/WSJ0", tmp_path / "WSJ")
    copied(copy3, tmp_path / "texts", "audio")
    copied(copy3, tmp_path / "begun", "isolated")
    (tmp_path / "link").symlink_to(copy3 / "data")
    found = {
        tmp_path / "nowhere": "does not exist",
        tmp_path / "empty": "is empty",
        tmp_path / "packed": "unpack CHiME3.tar.gz first",
        tmp_path / "WSJ": "looks like a disc of WSJ",
        tmp_path / "texts": r"texts/data holds only WSJ0, annotations, transcriptions\.",
        tmp_path / "begun": r"begun/data/audio/16kHz holds only backgrounds, embedded, enhanced\.",
        copy3 / "data/audio/16kHz": f"name {copy3}",
        tmp_path / "link": f"name {copy3}",
    }
    for folder, seems in found.items():
        message = rf"no CHiME-3 or CHiME-4 in {folder}: looked for data/audio/16kHz/isolated[\s\S]*{seems}"
        with pytest.raises(DataError, match=message):
            prepared(folder)


def test_the_folder_may_be_the_one_above(toy_chime3):
    assert facts(prepared(toy_chime3 / "CHiME3")[0]) == facts(prepared(toy_chime3)[0])
