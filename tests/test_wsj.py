"""The WSJ recipe: the toy corpus has the real form and every oddity, and prepare() loses nothing silently."""

import re
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ds2toolkit import recipe
from ds2toolkit.data import convert, sphere
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError
from ds2toolkit.text.compressed import open_text
from ds2toolkit.text.ngram import read_arpa
from ds2toolkit.text.normalise import normalise
from ds2toolkit.toy.grammar import distinct, sentence
from ds2toolkit.toy.studio import record

RECIPE = recipe.load(Path(__file__).parents[1] / "egs" / "wsj")
TOY, INDEX = RECIPE.local("toy"), RECIPE.local("index")
LAYOUTS = ("disc", "underscore", "cstr")
SIZES = dict.fromkeys(TOY.SIZES, 4)
SI84 = "01ic0201 01jc0201 01ic0202 01jc0202"
WSJ1 = "46uc0201 47hc0201 4a8c0201 4abc0201 46uc0202 47hc0202 4a8c0202 4abc0202"
IDS = {
    "train_si84": SI84.split(),
    "train_si284": f"{SI84} {WSJ1}".split(),
    "dev93": "4k0c0301 4k2c0301 4k0c0302 4k2c0302".split(),
    "dev93_5k": "4k0c0201 4k2c0201 4k0c0202 4k2c0202".split(),
    "eval92": "440c0401 441c0401 440c0402 441c0402".split(),
    "eval92_5k": "440c0201 441c0201 440c0202 441c0202".split(),
    "eval93": "4oac0301 4obc0301 4oac0302 4obc0302".split(),
    "eval93_5k": "4oac0201 4obc0201 4oac0202 4obc0202".split(),
}
FEMALE = {"01i", "46u", "4a8", "4k0", "440", "4oa"}
NO_GENDER = "01j"
WORDS_OF_MARKS = (
    "{a} {b} {rest}",
    "{a} {b} {rest}",
    "{a} {b} {rest}",
    "{a} {b} {rest}",
    "{a} {b} {b} {rest}",
    "{a} {b} {rest}",
    "{a} {b} {rest}",
    "{a} {b} {rest}",
    "{a} {head} {b} {rest}",
    "{a} {tail} {b} {rest}",
    "{a} {b} {rest} that isn't found",
    "i b m {a} {b} {rest}",
    "{a} {b} comma {rest} period",
    "double quote {a} {b} {rest} double quote",
    "{a} {b} left paren {rest} right paren",
    "{a} single quote {b} single quote {rest} question mark",
    "{a} {b} dash {rest} percent",
    "{a} {b} in parenthesis {rest} close paren",
    "{a} {b} hyphen {rest} ampersand",
)
NOTES = [
    "train_si84: 2 entries of speaker 401 left out, whose folder is not on the disc 11-2.1",
    "train_si284: 2 entries of speaker 401 left out, whose folder is not on the disc 11-2.1",
    "train_si284: 10 entries of the index with a space or a slash before the path",
    "train_si284: 2 texts taken from an .lsn file, there being none in a .dot file",
    "train_si284: 2 null waveforms (~~) left out",
    "eval92: 4 entries of the index without .wv1",
    "eval92: 2 texts taken from an .lsn file, there being none in a .dot file",
    "eval92: 2 of these with the fifth and sixth letter of the id swapped there",
    "eval92_5k: 4 entries of the index without .wv1",
    "8 files of the second microphone (.wv2) ignored",
]
NOTES_OF_DISCS = [
    "dev93: 4 files with upper-case names; ids are lower-case",
    "dev93_5k: 4 files with upper-case names; ids are lower-case",
    "eval93: 4 files on disc 13_33_1, which the index has on 13_32_1",
    "eval93_5k: 4 files on disc 13_33_1, which the index has on 13_32_1",
]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(params=LAYOUTS)
def toy_wsj(request, corpora) -> tuple[Path, str]:
    TOY.toy(corpora / request.param, sizes=SIZES, layout=request.param)
    return corpora / request.param, request.param


@pytest.fixture
def toy_discs(corpora) -> Path:
    TOY.toy(corpora / "disc", sizes=SIZES)
    return corpora / "disc" / "WSJ"


@pytest.fixture
def dirty(toy_discs, tmp_path) -> Path:
    shutil.copytree(toy_discs, tmp_path / "corpus")
    return tmp_path / "corpus"


def prepared(folder: Path) -> tuple[dict, Report]:
    report = Report()
    return RECIPE.preparer.prepare(folder, report), report


def expected_texts() -> dict[str, str]:
    """id -> normalised text, from the grammar and from what each mark is to mean."""
    sentences = distinct(sentence, np.random.default_rng(0))
    texts, num_marked = {}, 0
    for split, ids in IDS.items():
        names = WSJ1.split() if split == "train_si284" else ids
        for number, (name, text) in enumerate(zip(names, islice(sentences, len(names)), strict=True)):
            a, b, *rest = text.split()
            parts = {"a": a, "b": b, "rest": " ".join(rest), "head": b[:2], "tail": b[2:]}
            marked = number < 4 or (split.startswith("train") and number % 6 == 0)
            template = WORDS_OF_MARKS[num_marked % len(WORDS_OF_MARKS)] if marked else "{a} {b} {rest}"
            texts[name] = " ".join(template.format(**parts).split())
            num_marked += marked
    assert num_marked >= len(WORDS_OF_MARKS)
    return texts


def test_every_utterance_with_its_text_speaker_and_gender(toy_wsj):
    splits, _ = prepared(toy_wsj[0])
    assert {split: list(cuts.ids) for split, cuts in splits.items()} == IDS
    texts = expected_texts()
    for cut in (cut for cuts in splits.values() for cut in cuts):
        one = cut.supervisions[0]
        assert (one.id, one.recording_id, one.speaker) == (cut.id, cut.id, cut.id[:3])
        assert normalise("english", one.text) == texts[cut.id]
        gender = None if one.speaker == NO_GENDER else "female" if one.speaker in FEMALE else "male"
        assert one.gender == gender == one.custom.get("condition")
        assert cut.sampling_rate == 16000 and cut.duration > 1


def test_the_raw_text_stays(toy_wsj):
    raw = {cut.id: cut.supervisions[0].custom["raw_text"] for cut in prepared(toy_wsj[0])[0]["train_si284"]}
    assert raw["01ic0201"].startswith("[loud_breath] The ") and raw["01ic0201"].endswith(" [door_slam]")
    assert re.fullmatch(r"\S+ <(\w+)> \1 .*", raw["46uc0201"])
    assert raw["4abc0201"].isupper()  # of an .lsn file


def test_what_is_odd_or_left_out_is_reported(toy_wsj):
    folder, layout = toy_wsj
    report = prepared(folder)[1]
    assert sorted(report.notes) == sorted(NOTES if layout == "cstr" else NOTES + NOTES_OF_DISCS)
    assert report.counts() == {
        ("train_si84", "speaker 401"): 2,
        ("train_si284", "speaker 401"): 2,
        ("train_si284", "null waveform"): 2,
    }
    nulls = [line for line in report.dropped if line[2] == "null waveform"]
    assert nulls == [("train_si284", name, "null waveform", "~~") for name in ("46uc030b", "47hc0418")]


def test_decoded_audio_is_what_was_recorded(toy_wsj, tmp_path):
    folder, layout = toy_wsj
    root, report = folder / "WSJ", Report()
    takes = {one.id: TOY.take(root, layout, 0, one) for one in TOY.plan(0, SIZES) if one.split == "dev93"}
    cuts = prepared(folder)[0]["dev93"]
    codings = [sphere.read_header(Path(cut.recording.sources[0].source))["sample_coding"] for cut in cuts]
    shortened = "pcm,embedded-shorten-v{}".format
    assert codings == [shortened("2.00"), "pcm", shortened("1.09"), shortened("2.00")]
    for cut in convert.to_flac("dev93", cuts, tmp_path, 1, report):
        samples, rate_hz = soundfile.read(cut.recording.sources[0].source, dtype="int16")
        assert rate_hz == 16000 and np.array_equal(samples, record(takes[cut.id]))
    assert not report.dropped and len(list(tmp_path.rglob("*.flac"))) == 3


def test_the_tree_is_that_of_the_discs(toy_discs):
    discs = "11-1.1 11-2.1 11-10.1 11-13.1 11-14.1 13-1.1 13-11.1 13-16.1 13-32.1 13-33.1 13-34.1"
    assert {path.name for path in toy_discs.iterdir()} == set(discs.split())
    for file in (
        "11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1",
        "11-10.1/wsj0/transcrp/dots/si_tr_s/01i/01ic0200.dot",
        "11-14.1/wsj0/si_et_20/440/440c0400.dot",
        "13-16.1/WSJ1/SI_DT_20/4K0/4K0C0301.WV1",
        "13-33.1/wsj1/si_et_h1/wsj64k/4oa/4oac0301.wv1",
        "13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0300.dot",
    ):
        assert (toy_discs / file).is_file(), file
    assert not (toy_discs / "11-2.1/wsj0/si_tr_s/401").exists()
    index = toy_discs / "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx"
    lines = index.read_text(encoding="utf-8").splitlines()
    assert lines[0] == ";; File: tr_s_wv1.ndx, updated 04/26/94"
    assert lines[7] == "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1"
    assert lines[-1] == "11_2_1:wsj0/si_tr_s/401/401c0202.wv1"


def test_the_toy_corpus_is_the_same_every_time_and_made_once(toy_discs, tmp_path):
    TOY.toy(tmp_path, sizes=SIZES)
    for path in toy_discs.rglob("*"):
        copy = tmp_path / "WSJ" / path.relative_to(toy_discs)
        assert copy.is_dir() if path.is_dir() else copy.read_bytes() == path.read_bytes()
    shutil.rmtree(tmp_path / "WSJ" / "11-1.1")
    TOY.toy(tmp_path, sizes=SIZES)
    assert not (tmp_path / "WSJ" / "11-1.1").exists()


def test_tests_of_the_whole_toy_corpus_are_not_in_training():
    utterances = list(TOY.plan(0, TOY.SIZES))
    assert Counter(one.split for one in utterances) == {**TOY.SIZES, "train_si284": 800}
    assert len({one.id for one in utterances}) == len({one.raw for one in utterances}) == len(utterances)
    trained = [one for one in utterances if one.split.startswith("train")]
    tested = [one for one in utterances if one.split.startswith("eval")]
    for part in ("raw", "voice"):
        assert {getattr(one, part) for one in trained}.isdisjoint(getattr(one, part) for one in tested)
    assert {one.voice.variant for one in trained}.isdisjoint(one.voice.variant for one in tested)
    assert {one.id[:3] for one in trained}.isdisjoint(one.id[:3] for one in tested)


@pytest.mark.parametrize(
    ("parts", "disc", "place"),
    [
        ("corpus/11-13.1/wsj0/doc", "11_13_1", "wsj0/doc"),
        ("corpus/13_34.1/wsj1/trans/wsj1/si_tr_s", "13_34_1", "wsj1/trans/wsj1/si_tr_s"),
        ("corpus/csr_2_comp/13_34_1/wsj1", "13_34_1", "wsj1"),
        ("wsj1/13-1.1/wsj1/si_tr_s", "13_1_1", "wsj1/si_tr_s"),
        ("corpus/wsj0/si_tr_s", "", "wsj0/si_tr_s"),
        ("wsj0/wsj0/doc", "", "wsj0/doc"),
        ("wsj0/doc", "", "wsj0/doc"),
        ("corpus/13-32.1/score/lib/wsj", "", ""),
        ("corpus/elsewhere", "", ""),
    ],
)
def test_a_file_is_placed_whatever_stands_above_it(parts, disc, place):
    assert INDEX.placed(parts.split("/")) == (disc, place)


def test_every_spelling_of_an_index(tmp_path):
    lines = [
        ";; head",
        "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1",
        "13_11_1: /wsj1/si_tr_s/4a8/4a8c0202.wv1",
        "13_16_1:/WSJ1/SI_DT_20/4K0/4K0C030A.WV1",
        "11-14.1:wsj0/si_et_20/440/440c0401",
        "not an entry",
    ]
    (tmp_path / "x.ndx").write_text("\r\n".join(lines), encoding="utf-8")
    report = Report()
    entries = INDEX.read_index(tmp_path / "x.ndx", "dev93", report)
    assert [(entry.disc, entry.file, len(entry.oddities)) for entry in entries] == [
        ("11_1_1", "wsj0/si_tr_s/01i/01ic0201.wv1", 0),
        ("13_11_1", "wsj1/si_tr_s/4a8/4a8c0202.wv1", 1),
        ("13_16_1", "wsj1/si_dt_20/4k0/4k0c030a.wv1", 1),
        ("11_14_1", "wsj0/si_et_20/440/440c0401.wv1", 1),
    ]
    assert [line[2] for line in report.dropped] == ["malformed line of an index"]


def test_files_that_are_missing_or_damaged_are_reported(dirty):
    speaker = dirty / "13-33.1" / "wsj1" / "si_et_h1" / "wsj64k" / "4oa"
    (speaker / "4oac0301.wv1").unlink()
    (speaker / "4oac0302.wv1").write_bytes(b"")
    (dirty / "11-14.1/wsj0/si_et_05/440/440c0200.dot").unlink()
    splits, report = prepared(dirty)
    lines = {(split, name): (reason, detail) for split, name, reason, detail in report.dropped}
    assert lines["eval93", "4oac0301"] == ("no audio file", "13_32_1:wsj1/si_et_h1/wsj64k/4oa/4oac0301.wv1")
    assert lines["eval93", "4oac0302"][0] == "audio is empty"
    wanted = "440c0200.dot of wsj0/si_et_05/440/440c0201.wv1"
    assert lines["eval92_5k", "440c0201"] == ("no transcript", wanted)
    assert list(splits["eval93"].ids) == ["4obc0301", "4obc0302"]
    assert list(splits["eval92_5k"].ids) == ["441c0201", "441c0202"]


def test_transcripts_beside_the_audio_come_first(dirty):
    folder = dirty / "11-10.1" / "wsj0" / "transcrp" / "dots" / "si_et_20" / "440"
    folder.mkdir(parents=True)
    text = "ANOTHER TEXT (440c0401)\nONLY HERE (440c0402)\n"
    (folder / "440C0400.DOT").write_text(text, encoding="utf-8")
    beside = dirty / "11-14.1" / "wsj0" / "si_et_20" / "440" / "440c0400.dot"
    first, _ = beside.read_text(encoding="utf-8").splitlines()
    beside.write_text(first + "\n\n", encoding="utf-8")
    texts = {cut.id: cut.supervisions[0].text for cut in prepared(dirty)[0]["eval92"]}
    assert texts["440c0402"] == "ONLY HERE" and texts["440c0401"] != "ANOTHER TEXT"


HALVES = [
    ("13-*", {"train_si84", "eval92", "eval92_5k"}, "13-34.1/wsj1/doc/indices/si_tr_s.ndx"),
    ("11-*", {"dev93", "dev93_5k", "eval93", "eval93_5k"}, "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx"),
]


@pytest.mark.parametrize(("absent", "left", "wanted"), HALVES)
def test_half_of_the_corpus_gives_what_it_can(dirty, absent, left, wanted):
    for disc in dirty.glob(absent):
        shutil.rmtree(disc)
    splits, report = prepared(dirty)
    assert set(splits) == left
    missing = {note.split()[0]: note for note in report.notes if "left out: this copy has no" in note}
    assert set(missing) == set(IDS) - left
    assert missing["train_si284"].endswith(f"no {wanted}")


def test_a_split_without_any_audio_is_named(dirty):
    shutil.rmtree(dirty / "13-16.1")
    splits, report = prepared(dirty)
    assert "dev93" not in splits and report.counts()["dev93", "no audio file"] == 4
    assert "dev93 left out: none of its utterances can be used" in report.notes


def test_a_count_unlike_the_published_one_is_noted(toy_discs, monkeypatch):
    monkeypatch.setitem(RECIPE.preparer.NUM_UTTERANCES, "train_si84", 5)
    monkeypatch.setitem(RECIPE.preparer.NUM_UTTERANCES, "eval92", 4)
    notes = prepared(toy_discs)[1].notes
    assert [note for note in notes if "expected" in note] == ["train_si84: 5 utterances expected, found 4"]


def test_any_folder_above_and_links_in_circles(toy_discs, tmp_path):
    (tmp_path / "corpora" / "wsj").mkdir(parents=True)
    (tmp_path / "corpora" / "wsj" / "csr").symlink_to(toy_discs)
    (tmp_path / "corpora" / "wsj" / "up").symlink_to(tmp_path)
    splits, _ = prepared(tmp_path)
    assert {split: list(cuts.ids) for split, cuts in splits.items()} == IDS


def test_the_language_models(toy_wsj, tmp_path):
    RECIPE.preparer.lm_files(toy_wsj[0], tmp_path)
    models = {"bcb20onp.z": 2, "tcb20onp.z": 3, "bcb05onp.z": 2, "tcb05cnp.z": 3}
    lists = {"wlist20o.nvp", "wlist5c.nvp", "wfl_64.lst"}
    assert {path.name for path in tmp_path.iterdir()} == models.keys() | lists
    packed = {name for name in models if (tmp_path / name).read_bytes().startswith(b"\x1f\x9d\x90")}
    assert models.keys() - packed == {"tcb20onp.z"}
    with open_text(tmp_path / "tcb05cnp.z") as lines:
        text = lines.read()
    assert not text.startswith("\\data\\") and text.count("\n\\data\\\n") == 2
    lines = (tmp_path / "wlist5c.nvp").read_text(encoding="utf-8").splitlines()
    words = {line for line in lines if line[0] != "#"}
    texts = expected_texts()
    said = {word.upper() for name in IDS["train_si284"] for word in texts[name].split()}
    assert words == {f"{word}." if word in ("I", "B", "M") else word for word in said}
    for name, order in models.items():
        model = read_arpa(tmp_path / name)
        assert model.order == order and model.words == words | {"</s>", "<unk>"}


def test_a_copy_without_language_models_says_what_to_do(dirty, tmp_path):
    shutil.rmtree(dirty / "13-32.1")
    with pytest.raises(DataError, match=r"13-32.1/wsj1/doc/lng_modl/base_lm/bcb20onp.z[\s\S]*order: 3"):
        RECIPE.preparer.lm_files(dirty, tmp_path / "lm")


def test_a_wrong_folder_is_named_for_what_it_seems_to_be(tmp_path, dirty):
    (tmp_path / "empty").mkdir()
    (tmp_path / "an4" / "etc").mkdir(parents=True)
    (tmp_path / "an4" / "etc" / "an4_train.fileids").touch()
    for path in dirty.glob("*/*/doc"):
        shutil.rmtree(path)
    found = {
        tmp_path / "nowhere": "does not exist",
        tmp_path / "empty": "is empty",
        tmp_path / "an4": "looks like AN4",
        dirty / "11-1.1": r"is a part of .*corpus, which looks like WSJ",
        dirty: "looks like WSJ, a folder a disc",
    }
    for folder, seems in found.items():
        with pytest.raises(DataError, match=r"no WSJ in .*train/tr_s_wv1\.ndx[\s\S]*" + seems):
            prepared(folder)


def test_a_lone_disc_of_indices_is_an_error_too(toy_discs, tmp_path):
    shutil.copytree(toy_discs / "13-34.1", tmp_path / "13-34.1")
    with pytest.raises(DataError, match=r"none of the 8 utterances .*no audio file \(13_16_1:wsj1/si_dt_05"):
        prepared(tmp_path)
