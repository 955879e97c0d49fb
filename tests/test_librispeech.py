"""The LibriSpeech recipe: the toy corpus has the real form, and prepare() loses nothing without saying so."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from ds2toolkit import recipe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError, UserError

RECIPE = recipe.load(Path(__file__).parents[1] / "egs" / "librispeech")
SIZES = {"train-clean-100": 12, "dev-clean": 4, "test-clean": 6, "test-other": 24}


@pytest.fixture(scope="session")
def toy_librispeech(tmp_path_factory) -> Path:
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    folder = tmp_path_factory.mktemp("toy_librispeech")
    RECIPE.local("toy").toy(folder, sizes=SIZES)
    return folder


@pytest.fixture
def dirty(toy_librispeech, tmp_path) -> Path:
    shutil.copytree(toy_librispeech, tmp_path / "corpus")
    return tmp_path / "corpus"


def prepared(folder: Path) -> tuple[dict, Report]:
    report = Report()
    return RECIPE.preparer.prepare(folder, report), report


def chapter(corpus: Path, split: str = "train-clean-100") -> tuple[Path, list[Path]]:
    """The first transcript file of a subset and its audio files."""
    transcript = sorted((corpus / "LibriSpeech" / split).rglob("*.trans.txt"))[0]
    return transcript, sorted(transcript.parent.glob("*.flac"))


def test_toy_has_the_tree_of_the_real_corpus(toy_librispeech):
    root = toy_librispeech / "LibriSpeech"
    tables = {"SPEAKERS.TXT", "CHAPTERS.TXT", "BOOKS.TXT", "README.TXT", "LICENSE.TXT", "CONDITIONS.TXT"}
    assert {path.name for path in root.iterdir()} == set(SIZES) | tables
    for split, size in SIZES.items():
        files = [path.relative_to(root / split).as_posix() for path in (root / split).rglob("*.flac")]
        assert len(files) == size
        assert all(re.fullmatch(r"(\d+)/(\d+)/\1-\2-\d{4}\.flac", name) for name in files)
    for path in root.rglob("*.trans.txt"):
        assert path.name == f"{path.parts[-3]}-{path.parts[-2]}.trans.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert all(re.fullmatch(r"\d+-\d+-\d{4}( [A-Z']+){3,8}", line) for line in lines)
        assert [line.split()[0] for line in lines] == [
            f"{path.name[:-10]}-{i:04d}" for i in range(len(lines))
        ]
    audio = soundfile.info(next(root.rglob("*.flac")))
    assert (audio.format, audio.subtype, audio.samplerate, audio.channels) == ("FLAC", "PCM_16", 16000, 1)


def test_toy_tables_say_what_the_tree_holds(toy_librispeech):
    root = toy_librispeech / "LibriSpeech"
    text = (root / "SPEAKERS.TXT").read_text(encoding="utf-8")
    assert text.startswith(
        "; Some pipe(|) separated metadata about all LibriVox readers, whose work was used\n"
    )
    assert ";ID  |SEX| SUBSET           |MINUTES| NAME\n" in text
    rows = [line for line in text.splitlines() if not line.startswith(";")]
    assert all(re.fullmatch(r"\d+ +\| [FM] \| [a-z0-9-]+ +\| +\d+\.\d\d \| .+", row) for row in rows)
    readers = {path.parts[-2] for path in root.glob("*/*/*")}
    assert {row.split()[0] for row in rows} == readers
    assert any("|" in row.split("|", 4)[4] for row in rows) and any(not row.isascii() for row in rows)
    for table in ("CHAPTERS.TXT", "CONDITIONS.TXT"):
        lines = (root / table).read_text(encoding="utf-8").splitlines()
        found = {line.split()[0] for line in lines if not line.startswith(";")}
        assert found == {path.name for path in root.glob("*/*/*")}, table


def test_toy_subsets_share_neither_readers_nor_sentences(toy_librispeech):
    splits, _ = prepared(toy_librispeech)
    for kind in ("speaker", "text"):
        sets = [{getattr(cut.supervisions[0], kind) for cut in cuts} for cuts in splits.values()]
        assert sum(map(len, sets)) == len(set.union(*sets))


def test_the_cast_of_the_whole_toy_corpus():
    toy = RECIPE.local("toy")
    chapters = list(toy.cast(seed=0))
    assert toy.SIZES["train-clean-100"] >= 1300 and toy.SIZES["test-clean"] >= 200
    assert Counter(c.reader for c in chapters).most_common()[-1][1] == 2
    assert len({c.reader for c in chapters if c.split == "train-clean-100"}) >= 28
    trained = {c.voice.variant for c in chapters if c.split == "train-clean-100"}
    assert trained.isdisjoint({c.voice.variant for c in chapters if c.split != "train-clean-100"})
    conditions = {split: {c.condition for c in chapters if c.split == split} for split in toy.SIZES}
    assert conditions["test-clean"] == conditions["train-clean-100"] == {"american", "british"}
    assert len(conditions["test-other"]) == 6 and conditions["test-other"].isdisjoint(
        conditions["test-clean"]
    )
    for c in chapters:
        assert (c.setting.snr_db == 10) == ("10 dB" in c.condition)
        assert (c.setting.noise == "babble") == ("babble" in c.condition)
        assert (c.setting.rt60_s >= 0.4) == ("room" in c.condition)


def test_toy_is_the_same_every_time_and_is_made_once(toy_librispeech, tmp_path):
    toy = RECIPE.local("toy").toy
    toy(tmp_path, sizes=SIZES)
    for path in (toy_librispeech / "LibriSpeech").rglob("*"):
        copy = tmp_path / path.relative_to(toy_librispeech)
        assert copy.is_dir() if path.is_dir() else copy.read_bytes() == path.read_bytes()
    (tmp_path / "LibriSpeech" / "README.TXT").unlink()
    toy(tmp_path, sizes=SIZES)
    assert not (tmp_path / "LibriSpeech" / "README.TXT").exists()


def test_prepare_takes_every_utterance_of_the_toy_corpus(toy_librispeech):
    splits, report = prepared(toy_librispeech)
    assert {split: len(cuts) for split, cuts in splits.items()} == SIZES and not report.dropped
    cut = splits["test-other"][0]
    supervision = cut.supervisions[0]
    assert cut.id == supervision.id == cut.recording.id and supervision.speaker == cut.id.split("-")[0]
    assert supervision.gender in ("female", "male")
    assert {c.supervisions[0].custom["condition"] for c in splits["test-clean"]} == {"american"}
    assert len({c.supervisions[0].custom["condition"] for c in splits["test-other"]}) == 6
    assert Path(cut.recording.sources[0].source).is_absolute()
    assert cut.load_audio().shape == (1, cut.num_samples)


def test_prepare_takes_the_folder_or_the_one_above(toy_librispeech):
    above, inside = (prepared(folder)[0] for folder in (toy_librispeech, toy_librispeech / "LibriSpeech"))
    assert {name: list(cuts.ids) for name, cuts in above.items()} == {
        name: list(cuts.ids) for name, cuts in inside.items()
    }


def test_the_condition_is_the_gender_without_a_list_of_conditions(dirty):
    (dirty / "LibriSpeech" / "CONDITIONS.TXT").unlink()
    cuts = prepared(dirty)[0]["dev-clean"]
    assert all(cut.supervisions[0].custom["condition"] == cut.supervisions[0].gender for cut in cuts)
    (dirty / "LibriSpeech" / "SPEAKERS.TXT").unlink()
    assert all(not cut.supervisions[0].custom for cut in prepared(dirty)[0]["dev-clean"])


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


DAMAGES = {
    "audio is truncated": truncate,
    "audio is empty": lambda path: path.write_bytes(b""),
    "audio cannot be read": lambda path: path.write_text("not audio at all\n", encoding="utf-8"),
    "no audio file": Path.unlink,
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_file_costs_one_line_of_the_report(dirty, reason):
    _, (victim, *_) = chapter(dirty)
    DAMAGES[reason](victim)
    splits, report = prepared(dirty)
    assert [line[:3] for line in report.dropped] == [("train-clean-100", victim.stem, reason)]
    assert victim.stem not in splits["train-clean-100"].ids
    assert len(splits["train-clean-100"]) == SIZES["train-clean-100"] - 1


def test_audio_without_samples_is_empty(dirty):
    _, (victim, *_) = chapter(dirty)
    soundfile.write(victim, [], 16000)
    assert prepared(dirty)[1].counts() == {("train-clean-100", "audio is empty"): 1}


def test_transcripts_that_do_not_fit_are_reported(dirty):
    first, second = sorted((dirty / "LibriSpeech" / "train-clean-100").rglob("*.trans.txt"))[:2]
    lines = first.read_text(encoding="utf-8").splitlines()
    names = [line.split()[0] for line in lines]
    first.write_text(
        "\n".join([names[0], "", lines[1], lines[1], "HELLO", "NO-SUCH-FILE AT ALL"]) + "\n", encoding="utf-8"
    )
    unnamed, *rest = second.read_text(encoding="utf-8").splitlines()
    second.write_text("\n".join(rest) + "\n", encoding="utf-8")
    splits, report = prepared(dirty)
    assert sorted(line[1:3] for line in report.dropped) == sorted(
        [
            (names[0], "empty transcript"),
            (names[1], "duplicated id"),
            ("HELLO", "empty transcript"),
            ("NO-SUCH-FILE", "no audio file"),
            (unnamed.split()[0], "no transcript"),
        ]
    )
    assert len(splits["train-clean-100"]) == SIZES["train-clean-100"] - 2


def test_the_report_counts_and_lists(dirty, tmp_path):
    _, (victim, other, *_) = chapter(dirty)
    truncate(victim)
    other.unlink()
    _, report = prepared(dirty)
    report.write(tmp_path / "report.txt")
    lines = (tmp_path / "report.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Dropped 2 utterances."
    assert "train-clean-100       1  audio is truncated" in lines
    assert any(line.startswith(f"train-clean-100  {other.stem}  no audio file: /") for line in lines)


def test_a_wrong_folder_is_named_for_what_it_seems_to_be(tmp_path, dirty):
    (tmp_path / "empty").mkdir()
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "dev-clean.tar.gz").touch()
    (tmp_path / "an4" / "etc").mkdir(parents=True)
    (tmp_path / "an4" / "etc" / "an4_train.fileids").touch()
    found = {
        tmp_path / "nowhere": "does not exist",
        tmp_path / "empty": "is empty",
        tmp_path / "archives": "unpack dev-clean.tar.gz first",
        tmp_path / "an4": "looks like AN4",
        dirty / "LibriSpeech" / "dev-clean": "name the folder above it",
    }
    for folder, seems in found.items():
        with pytest.raises(DataError, match=r"trans\.txt[\s\S]*" + seems):
            prepared(folder)


def test_a_broken_table_is_an_error_with_its_line(dirty):
    (dirty / "LibriSpeech" / "CONDITIONS.TXT").write_text("20000 american\n", encoding="utf-8")
    with pytest.raises(DataError, match="CONDITIONS.TXT.*'20000 american'"):
        prepared(dirty)


def test_without_a_network_the_user_hears_of_corpus_dir(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"downloading LibriSpeech's dev-clean-2 .*failed[\s\S]*--corpus-dir"):
        RECIPE.preparer.download(tmp_path, ["dev-clean-2"])
    assert not (tmp_path / "LibriSpeech").exists()
    with pytest.raises(UserError, match=r"downloading http\S+arpa.gz failed"):
        RECIPE.preparer.download_lm(tmp_path / "lm")
    assert not list((tmp_path / "lm").glob("*.gz"))


def test_real_librispeech_loses_nobody(real_speech):
    splits, report = prepared(real_speech / "LibriSpeech")
    cuts = splits["train-clean-5"]
    assert list(splits) == ["train-clean-5"] and len(cuts) == 184 and not report.dropped
    assert {cut.supervisions[0].speaker for cut in cuts} == {"32", "1088", "1867", "5789"}
    assert {cut.supervisions[0].custom["condition"] for cut in cuts} == {"female", "male"}
    assert list(prepared(real_speech)[0]["train-clean-5"].ids) == list(cuts.ids)
