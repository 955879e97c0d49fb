"""The AN4 recipe: SPHERE files, both transcription styles, a dev set of whole speakers, damage reported."""

import io
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ds2toolkit import recipe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.toy.sphere import write_sphere

RECIPE = recipe.load(Path(__file__).parents[1] / "egs" / "an4")
SIZES = {"train": 24, "test": 6}


@pytest.fixture(scope="session")
def toy_an4(tmp_path_factory) -> Path:
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    folder = tmp_path_factory.mktemp("toy_an4")
    RECIPE.local("toy").toy(folder, sizes=SIZES)
    return folder


@pytest.fixture
def dirty(toy_an4, tmp_path) -> Path:
    return Path(shutil.copytree(toy_an4 / "an4", tmp_path / "an4"))


def prepared(folder: Path) -> tuple[dict, Report]:
    report = Report()
    return RECIPE.preparer.prepare(folder, report), report


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_toy_has_the_layout_of_the_real_corpus(toy_an4):
    root = toy_an4 / "an4"
    for part, style in (("train", r"<s> [A-Z ]+ </s> \((\S+)\)"), ("test", r"[A-Z ]+ \((\S+)\)")):
        fileids = (root / "etc" / f"an4_{part}.fileids").read_text(encoding="utf-8").splitlines()
        lines = (root / "etc" / f"an4_{part}.transcription").read_text(encoding="utf-8").splitlines()
        assert len(fileids) == SIZES[part]
        assert [re.fullmatch(style, line)[1] for line in lines] == [Path(fileid).name for fileid in fileids]
        assert all((root / "wav" / f"{fileid}.sph").is_file() for fileid in fileids)
    assert not {path.name for path in root.glob("wav/an4_clstk/*")} & {
        path.name for path in root.glob("wav/an4test_clstk/*")
    }


def test_toy_is_the_same_every_time(toy_an4, tmp_path):
    RECIPE.local("toy").toy(tmp_path, sizes=SIZES)
    files = [path.relative_to(toy_an4) for path in toy_an4.rglob("*") if path.is_file()]
    assert len(files) == 30 + 5
    assert all((tmp_path / path).read_bytes() == (toy_an4 / path).read_bytes() for path in files)


def test_prepare_takes_every_utterance(toy_an4):
    splits, report = prepared(toy_an4)
    assert {name: len(cuts) for name, cuts in splits.items()} == {
        "train": 20,
        "dev": 4,
        "test": 6,
    } and not report.dropped
    speakers = {name: {cut.supervisions[0].speaker for cut in cuts} for name, cuts in splits.items()}
    assert speakers["dev"] == {"fghi", "fhij", "mklm", "mlmn"}
    assert speakers["dev"].isdisjoint(speakers["train"]) and speakers["test"].isdisjoint(speakers["train"])
    for cuts in splits.values():
        for cut in cuts:
            supervision = cut.supervisions[0]
            assert supervision.custom["condition"] == {"f": "female", "m": "male"}[supervision.speaker[0]]
            assert re.fullmatch("[A-Z ]+", supervision.text) and cut.id.split("-")[1] == supervision.speaker
    assert {n: list(c.ids) for n, c in prepared(toy_an4 / "an4")[0].items()} == {
        n: list(c.ids) for n, c in splits.items()
    }


def test_test_texts_do_not_occur_in_training(toy_an4):
    splits, _ = prepared(toy_an4)
    texts = {name: {cut.supervisions[0].text for cut in cuts} for name, cuts in splits.items()}
    assert texts["test"].isdisjoint(texts["train"] | texts["dev"])


def test_a_sphere_file_cut_short_is_found(dirty):
    """libsndfile alone believes the size of the file."""
    victim = dirty / "wav/an4_clstk/fabc/an1-fabc-b.sph"
    victim.write_bytes(victim.read_bytes()[:-2000])
    assert soundfile.info(victim).frames > 0
    splits, report = prepared(dirty)
    assert [line[:3] for line in report.dropped] == [("train", "an1-fabc-b", "audio is truncated")]
    assert len(splits["train"]) == 19


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "audio is empty"), (b"RIFF? no", "audio cannot be read"), (None, "no audio file")],
)
def test_a_file_that_is_no_audio_is_reported(dirty, content, reason):
    victim = dirty / "wav/an4test_clstk/fxyz/an1-fxyz-b.sph"
    victim.unlink() if content is None else victim.write_bytes(content)
    splits, report = prepared(dirty)
    assert report.counts() == {("test", reason): 1} and len(splits["test"]) == 5


def test_a_sphere_file_without_samples_is_empty(dirty):
    write_sphere(dirty / "wav/an4test_clstk/fxyz/an1-fxyz-b.sph", np.zeros(0, np.int16), 16000)
    assert set(prepared(dirty)[1].counts()) & {("test", "audio is empty"), ("test", "audio cannot be read")}


def test_lists_that_disagree_are_reported(dirty):
    transcripts = dirty / "etc/an4_train.transcription"
    rewrite(transcripts, "(an1-fabc-b)", "(an99-fabc-b)")
    rewrite(transcripts, " (an2-fbcd-b)", "")
    with transcripts.open("a", encoding="utf-8") as file:
        file.write("<s> AGAIN </s> (an3-fcde-b)\n")
    with (dirty / "etc/an4_test.fileids").open("a", encoding="utf-8") as file:
        file.write("an4test_clstk/fxyz/an1-fxyz-b\n")
    splits, report = prepared(dirty)
    assert sorted(line[:3] for line in report.dropped) == sorted(
        [
            ("train", "an1-fabc-b", "no transcript"),
            ("train", "an99-fabc-b", "not in the list of files"),
            ("train", "an2-fbcd-b", "no transcript"),
            ("train", "-", "malformed transcript"),
            ("train", "an3-fcde-b", "second transcript"),
            ("test", "an1-fxyz-b", "duplicated id"),
        ]
    )
    assert len(splits["train"]) == 18 and splits["train"]["an3-fcde-b"].supervisions[0].text != "AGAIN"


def test_a_wrong_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"etc/an4_train\.fileids[\s\S]*is empty"):
        prepared(tmp_path)


def test_few_speakers_are_never_all_held_out():
    dev_speakers = RECIPE.preparer.dev_speakers
    assert dev_speakers({"fa"}) == set()
    assert dev_speakers({"fa", "fb", "ma"}) == {"fb"}
    assert dev_speakers({"fa", "fb", "fc", "fd", "ma", "mb"}) == {"fc", "fd", "mb"}


def archive(folder: Path, name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, arcname=name)
    return file.getvalue()


def test_download_unpacks_the_first_mirror_that_answers(toy_an4, tmp_path, monkeypatch):
    source = tmp_path / "an4_sphere.tar.gz"
    source.write_bytes(archive(toy_an4 / "an4", "an4"))
    monkeypatch.setattr(RECIPE.preparer, "MIRRORS", ((tmp_path / "none.tar.gz").as_uri(), source.as_uri()))
    RECIPE.preparer.download(tmp_path / "corpus", ["train", "test"])
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["an4"]
    assert sum(len(cuts) for cuts in prepared(tmp_path / "corpus")[0].values()) == 30


@pytest.mark.parametrize("damage", ["cut short", "climbs out"])
def test_a_bad_archive_leaves_nothing_behind(toy_an4, tmp_path, monkeypatch, damage):
    source = tmp_path / "an4_sphere.tar.gz"
    whole = archive(toy_an4 / "an4", "an4" if damage == "cut short" else "../an4")
    source.write_bytes(whole[: len(whole) // 2] if damage == "cut short" else whole)
    monkeypatch.setattr(RECIPE.preparer, "MIRRORS", (source.as_uri(),))
    with pytest.raises(UserError, match="--corpus-dir"):
        RECIPE.preparer.download(tmp_path / "corpus", ["train"])
    assert not list((tmp_path / "corpus").iterdir()) and not (tmp_path / "an4").exists()


def test_without_a_network_the_user_hears_of_corpus_dir(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"an4_sphere\.tar\.gz failed[\s\S]*--corpus-dir"):
        RECIPE.preparer.download(tmp_path, ["train"])


def test_real_an4_is_all_there(real_speech, tmp_path):
    splits, report = prepared(real_speech / "an4")
    assert (
        not report.dropped and len(splits["train"]) + len(splits["dev"]) == 948 and len(splits["test"]) == 130
    )
    assert len(splits["dev"]) == 51
    assert {cut.supervisions[0].speaker for cut in splits["dev"]} == {"ftmj", "fwxs", "mtxj", "mwhw"}
    assert len({cut.supervisions[0].speaker for cut in splits["test"]}) == 10
    assert not any("<" in cut.supervisions[0].text for cuts in splits.values() for cut in cuts)
    assert sum(cut.duration for cut in splits["train"] + splits["dev"]) / 60 == pytest.approx(42, abs=1)


def test_our_sphere_files_are_the_real_ones_byte_for_byte(real_speech, tmp_path):
    for path in sorted((real_speech / "an4/wav").rglob("*.sph"))[::200]:
        samples, rate_hz = soundfile.read(path, dtype="int16")
        write_sphere(tmp_path / path.name, samples, rate_hz)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
