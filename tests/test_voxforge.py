"""The VoxForge recipe: archives and folders alike, every form of README and prompts, a split that can be cited."""

import functools
import hashlib
import http.server
import shutil
import tarfile
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit import recipe
from ds2toolkit.config import FeatureConfig
from ds2toolkit.data.cuts import Checker
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text.normalise import normalise

RECIPE = recipe.load(Path(__file__).parents[1] / "egs" / "voxforge")
SIZES = {"train": 8, "dev": 8, "test": 8}
GROUPS = {"american-canadian", "commonwealth", "european", "indian"}
PROMPTS = "{name}/mfc/a0001 HELLO WORLD\n{name}/mfc/a0002 IT'S ME\n"


def prepared(corpus: Path) -> tuple[dict, Report]:
    report = Report()
    return RECIPE.preparer.prepare(corpus, report, corpus.with_name("scratch")), report


def table(splits: dict) -> dict[str, tuple]:
    """What prepare() says of each utterance, by id."""
    return {
        cut.id: (split, s.text, s.speaker, (s.custom or {}).get("condition"), s.gender)
        for split, cuts in splits.items()
        for cut in cuts
        for s in cut.supervisions
    }


def dropped(report: Report) -> set[tuple[str, str]]:
    return {(utterance, reason) for _, utterance, reason, _ in report.dropped}


def tone(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(4000)), 16000)


def submit(
    corpus: Path, name: str, readme: str | bytes | None = "", prompts: str | bytes | None = PROMPTS, /, **more: str
) -> Path:
    """A submission with the recordings a0001 and a0002. more: further files in etc/, by name."""
    folder = corpus / name
    for utterance in ("a0001", "a0002"):
        tone(folder / "wav" / f"{utterance}.wav")
    for path, text in {"README": readme, "PROMPTS": prompts, **more}.items():
        if text is not None:
            (folder / "etc").mkdir(exist_ok=True)
            raw = text if isinstance(text, bytes) else text.replace("{name}", name).encode()
            (folder / "etc" / path).write_bytes(raw)
    return folder


def pack(folder: Path, ending: str = "tgz") -> Path:
    """Make an archive of a submission and remove its folder."""
    archive = folder.with_name(f"{folder.name}.{ending}")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    return archive


@pytest.fixture(scope="module")
def toy_voxforge(tmp_path_factory) -> Path:
    pytest.importorskip("espeakng_loader", reason="toy speech is an extra: pip install -e .[toy]")
    folder = tmp_path_factory.mktemp("toy_voxforge") / "corpus"
    RECIPE.local("toy").toy(folder, sizes=SIZES)
    return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
    (tmp_path / "corpus").mkdir()
    return tmp_path / "corpus"


# --- the toy corpus ---


def test_prepare_finds_what_the_toy_writer_planned(toy_voxforge):
    splits, report = prepared(toy_voxforge)
    planned = {}
    for one, take in RECIPE.local("toy").plan(Path(), 0, SIZES):
        utterance_id = f"{one.folder}-{take.path.stem}".replace(" ", "_")
        condition = RECIPE.preparer.speakers.group_of(one.dialect)
        gender = None if one.quirk == "no readme" else one.gender.lower()
        planned[utterance_id] = (one.split, take.text, one.speaker, condition, gender)
    found = {
        name: (split, normalise("english", text), *rest) for name, (split, text, *rest) in table(splits).items()
    }
    silent = {name: row for name, row in found.items() if row[1] == "nobody has recorded this"}
    assert {name: row for name, row in found.items() if name not in silent} == planned
    assert len(silent) == 1 and len(planned) == sum(SIZES.values())
    assert Counter(reason for _, _, reason, _ in report.dropped) == {
        "no audio file": 2,
        "no transcript": 1,
        "audio is empty": 1,
        "damaged archive": 1,
    }
    checker = Checker("train", False, "english", FeatureConfig())
    assert len(checker.check(splits["train"], report, 1)) == SIZES["train"]
    assert report.dropped[-1][1:3] == (*silent, "audio is silent")


def test_the_toy_corpus_has_every_quirk(toy_voxforge):
    splits, report = prepared(toy_voxforge)
    notes = "\n".join(report.notes)
    for quirk in (
        "flac/ used",
        "no README",
        "prompts under another name",
        "prompts-original used",
        "read as Windows-1252",
        "dialect without a group: Other",
        "dialect without a group: unknown",
        "dialect without a group: Scottish",
    ):
        assert quirk in notes, quirk
    root = toy_voxforge / "Main" / "16kHz_16bit"
    packed = {path.name.partition(".")[0] for path in root.iterdir() if path.is_file()}
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    assert len(packed & folders) == 1 and len(packed) > 8 and len(folders) > 8
    rows = table(splits).values()
    assert len({speaker for _, _, speaker, *_ in rows if speaker.startswith("anonymous-")}) == 2
    assert {condition for split, _, _, condition, _ in rows if split == "test"} == GROUPS
    users = {cut.id.split("-")[0] for cut in splits["dev"]}
    assert len(users) == 8 and len({user.lower() for user in users}) == 4
    everything = [path.name for place in (root, toy_voxforge.with_name("scratch")) for path in place.rglob("etc/*")]
    assert everything.count("readme") == 1 and everything.count("README") > 20


def test_toy_splits_share_neither_speakers_nor_texts(toy_voxforge):
    rows = table(prepared(toy_voxforge)[0]).values()
    for column in (1, 2):
        members = [{row[column].lower() for row in rows if row[0] == split} for split in SIZES]
        assert sum(map(len, members)) == len(set.union(*members))


def test_toy_is_the_same_every_time_and_is_made_once(toy_voxforge, corpus):
    toy = RECIPE.local("toy").toy
    toy(corpus, sizes=SIZES)
    files = [path.relative_to(toy_voxforge) for path in toy_voxforge.rglob("*") if path.is_file()]
    assert len(files) > 80 and len(files) == sum(path.is_file() for path in corpus.rglob("*"))
    assert all((corpus / path).read_bytes() == (toy_voxforge / path).read_bytes() for path in files)
    victim = corpus / files[0]
    victim.unlink()
    toy(corpus, sizes=SIZES)
    assert not victim.exists()


def test_the_cast_of_the_whole_toy_corpus():
    toy = RECIPE.local("toy")
    readings = toy.plan(Path(), 0, toy.SIZES)
    accents = Counter((RECIPE.preparer.speakers.group_of(one.dialect), one.split) for one, _ in readings)
    assert len(readings) == 1200 and all(accents[group, "test"] == 60 for group in GROUPS)
    assert accents["american-canadian", "train"] > accents["commonwealth", "train"] > accents["indian", "train"] > 0
    voices = {split: {one.voice.variant for one, _ in readings if one.split == split} for split in toy.SIZES}
    assert voices["train"].isdisjoint(voices["test"] | voices["dev"])
    chosen = RECIPE.preparer.speakers.choose(
        {one.speaker: (RECIPE.preparer.speakers.group_of(one.dialect), 15) for one, _ in readings}
    )
    assert all(chosen[one.speaker][0] == one.split for one, _ in readings)


# --- archives and folders ---


def test_archives_and_folders_give_the_same(corpus, tmp_path):
    names = ["ann-20080101-abc", "bob-20090101-def", "anonymous-20080425-dzd", "EN-cy-20190101-xyz1546300800"]
    for name in names:
        submit(corpus, name, "Gender: Female\nPronunciation dialect: Indian English\n")
    folders, nothing = prepared(corpus)
    for name, ending in zip(names, ("tgz", "tar.gz", "tgz", "tgz"), strict=True):
        pack(corpus / name, ending)
    archives, report = prepared(corpus)
    assert table(archives) == table(folders) and len(table(folders)) == 8
    assert not report.dropped and not nothing.dropped
    row = table(archives)["EN-cy-20190101-xyz1546300800-a0002"]
    assert row[1:] == ("IT'S ME", "cy", "indian", "female")
    assert all("scratch" in cut.recording.sources[0].source for cuts in archives.values() for cut in cuts)


@pytest.mark.parametrize("place", [".", "extracted", "Main/16kHz_16bit", "Audio/Main/16kHz_16bit"])
def test_submissions_may_lie_deeper(corpus, place):
    submit(corpus / place, "ann-20080101-abc")
    pack(submit(corpus / place, "bob-20090101-def"))
    assert {row[2] for row in table(prepared(corpus)[0]).values()} == {"ann", "bob"}


def test_a_submission_that_is_there_twice_counts_once(corpus):
    pack(submit(corpus / "tgz", "ann-20080101-abc"))
    submit(corpus / "extracted", "ann-20080101-abc")
    splits, report = prepared(corpus)
    assert len(table(splits)) == 2 and not report.dropped
    assert "extracted" in next(iter(splits.values()))[0].recording.sources[0].source


def test_a_damaged_archive_is_left_out_whole(corpus):
    submit(corpus, "ann-20080101-abc")
    archive = pack(submit(corpus, "bob-20090101-def"))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3])
    for _ in range(2):
        splits, report = prepared(corpus)
        assert {row[2] for row in table(splits).values()} == {"ann"}
        assert dropped(report) == {("bob-20090101-def.tgz", "damaged archive")}
    assert not list(corpus.with_name("scratch").rglob("*.wav"))


def test_an_archive_that_was_fetched_again_is_unpacked_again(corpus):
    submit(corpus, "ann-20080101-abc")
    archive = pack(submit(corpus, "bob-20090101-def"))
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-20])
    assert len(table(prepared(corpus)[0])) == 2
    archive.write_bytes(whole)
    assert len(table(prepared(corpus)[0])) == 4
    pack(submit(corpus, "bob-20090101-def", "", "a0001 ANOTHER PROMPT\n"))
    assert table(prepared(corpus)[0])["bob-20090101-def-a0001"][1] == "ANOTHER PROMPT"


def test_an_archive_of_something_else_is_reported(corpus):
    submit(corpus, "ann-20080101-abc")
    (corpus / "photos").mkdir()
    (corpus / "photos" / "me.jpg").touch()
    pack(corpus / "photos")
    assert dropped(prepared(corpus)[1]) == {("photos.tgz", "no submission in the archive")}


def test_a_wrong_folder_is_named_for_what_it_seems_to_be(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "LibriSpeech" / "dev-clean" / "84").mkdir(parents=True)
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").touch()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "ann-20080101-abc.tgz").write_bytes(b"not a tar")
    found = {
        tmp_path / "nowhere": "does not exist",
        tmp_path / "empty": "is empty",
        tmp_path / "LibriSpeech": "looks like LibriSpeech",
        tmp_path / "torn": r"ann-20080101-abc\.tgz is damaged",
        submit(tmp_path, "bob-20080101-abc"): "name the folder above it",
    }
    for folder, seems in found.items():
        with pytest.raises(DataError, match=rf"no VoxForge .*NAME\.tgz.*\n[\s\S]*{seems}"):
            prepared(folder)


# --- README and prompts ---


@pytest.mark.parametrize(
    ("readme", "gender", "condition"),
    [
        ("Gender: Male\nPronunciation dialect: American English\n", "male", "american-canadian"),
        ("User Name:\tann;\n\tSex:\t[male];\n\tPronunication dialect:\tBritish English;\n", "male", "commonwealth"),
        ("Gender: Female;\r\nPronunciation dialect: New Zealand English;\r\n", "female", "commonwealth"),
        ("gender:female\rPRONUNCIATION DIALECT:South  African English\r", "female", "commonwealth"),
        ("Gender: unknown\nPronunciation dialect: European English\nSub-dialect: Scottish\n", None, "european"),
        (b"\xef\xbb\xbfGender: Male\nPronunciation dialect: Indian English\n", "male", "indian"),
        (b"Gender: Male\nMake: Caf\xe9\nPronunciation dialect: Indian English\n", "male", "indian"),
        ("Pronunciation dialect: Scottish, Welsh (British Isles)\nFirst language: English\n", None, None),
        ("Pronunciation dialect: Other - Indian\n", None, None),
        ("Pronunciation dialect: unknown\n", None, None),
        ("Gender:\nGender: Female\nPronunciation dialect:\n", "female", None),
        (None, None, None),
    ],
)
def test_every_form_of_readme(corpus, readme, gender, condition):
    submit(corpus, "ann-20080101-abc", readme)
    assert {row[3:] for row in table(prepared(corpus)[0]).values()} == {(condition, gender)}


@pytest.mark.parametrize("place", ["etc/readme", "etc/Readme.txt", "README"])
def test_a_readme_under_another_name(corpus, place):
    folder = submit(corpus, "ann-20080101-abc", None)
    (folder / place).write_text("Pronunciation dialect: Irish English\n", encoding="utf-8")
    splits, report = prepared(corpus)
    assert {row[3] for row in table(splits).values()} == {"commonwealth"}
    assert not any("README" in note for note in report.notes)


TWO = {"a0001": "HELLO WORLD", "a0002": "IT'S ME"}
NAMED_PROMPTS = {
    "PROMPTS": PROMPTS,
    "prompts": PROMPTS.lower().replace("{NAME}", "{name}"),
    "prompt.txt": "a0001 HELLO WORLD\r\na0002 IT'S ME\r\n",
    "prompts.txt": "*/a0001.wav\tHELLO WORLD\n*/a0002.wav\tIT'S ME\n",
    "cc.prompts": "../cc/a0001 HELLO WORLD\n\n../cc/a0002 IT'S ME\n",
    "therainbowpassage.prompt": "08.05.29/mfc/a0001 HELLO WORLD\n08.05.29/mfc/a0002 IT'S ME",
    "Transcriptions.txt": "C:\\mfc\\A0001 HELLO WORLD\nC:\\mfc\\A0002 IT'S ME\n",
    "a13.text": "a0001 Hello World\na0002 It's me\n",
    "prompts-original": "a0001 Hello, world!\na0002 It's me.\n",
}


@pytest.mark.parametrize("name", NAMED_PROMPTS)
@pytest.mark.parametrize("beside", [False, True], ids=["in etc", "beside etc"])
def test_prompts_under_every_name(corpus, name, beside):
    folder = submit(corpus, "ann-20080101-abc", "", None, **{name: NAMED_PROMPTS[name]})
    if beside:
        (folder / "etc" / name).rename(folder / name)
    splits, report = prepared(corpus)
    texts = {utterance: normalise("english", row[1]).upper() for utterance, row in table(splits).items()}
    assert texts == {f"ann-20080101-abc-{key}": text for key, text in TWO.items()}
    assert not report.dropped


def test_prompts_come_before_originals_which_fill_the_gaps(corpus):
    originals = "a0001 Hello?\na0002 It is I.\na0003 Never said.\n"
    submit(corpus, "ann-20080101-abc", "", "a0001 HELLO WORLD\n", **{"prompts-original": originals})
    splits, report = prepared(corpus)
    assert [row[1] for row in table(splits).values()] == ["HELLO WORLD", "It is I."] and not report.dropped


def test_bytes_that_are_not_utf_8_are_windows_1252(corpus):
    submit(corpus, "ann-20080101-abc", "", b"a0001 CAF\xc9\na0002 IT\x92S ME\n")
    splits, report = prepared(corpus)
    assert [normalise("english", row[1]) for row in table(splits).values()] == ["cafe", "it's me"]
    assert any("Windows-1252 (1 of 1" in note for note in report.notes)


def test_what_does_not_fit_is_reported(corpus):
    prompts = "x/mfc/a0001 HELLO\nx/mfc/a0001 OTHERWISE\nx/mfc/a0009 NO FILE\nx/mfc/a0003\nx/mfc/a0004 ZERO\nx/mfc/ LOST\n"
    folder = submit(corpus, "ann-20080101-abc", "", prompts)
    tone(folder / "wav" / "a0003.wav")
    (folder / "wav" / "a0004.wav").touch()
    (folder / "wav" / "._a0001.wav").touch()
    splits, report = prepared(corpus)
    name = "ann-20080101-abc-"
    assert {key: row[1] for key, row in table(splits).items()} == {f"{name}a0001": "HELLO", f"{name}a0003": ""}
    assert dropped(report) == {
        (f"{name}a0001", "second transcript"),
        (name, "malformed transcript"),
        (f"{name}a0009", "no audio file"),
        (f"{name}a0002", "no transcript"),
        (f"{name}a0004", "audio is empty"),
    }


@given(readme=st.binary(max_size=80), prompts=st.binary(max_size=80) | st.text("/\\.wavmfc \n:a").map(str.encode))
def test_no_bytes_are_a_traceback(tmp_path_factory, readme, prompts):
    folder = tmp_path_factory.mktemp("noise") / "ann-20080101-abc"
    (folder / "etc").mkdir(parents=True)
    (folder / "wav").mkdir()
    (folder / "wav" / "a0001.wav").touch()
    (folder / "etc" / "README").write_bytes(readme)
    (folder / "etc" / "PROMPTS").write_bytes(prompts)
    found = RECIPE.preparer.submission.read(folder)
    assert "a0001" in "".join(one[0] for one in found.faults) + "".join(one.id for one in found.utterances)


def test_flac_stands_in_for_wav(corpus):
    folder = submit(corpus, "ann-20080101-abc")
    tone(folder / "FLAC" / "a0001.flac")
    (folder / "wav" / "a0001.wav").write_bytes(b"")
    splits, report = prepared(corpus)
    endings = [Path(cut.recording.sources[0].source).suffix for cuts in splits.values() for cut in cuts]
    assert sorted(endings) == [".flac", ".wav"] and not report.dropped
    shutil.rmtree(folder / "wav")
    assert dropped(prepared(corpus)[1]) == {("ann-20080101-abc-a0002", "no audio file")}


# --- speakers and splits ---


@pytest.mark.parametrize(
    ("name", "user", "speaker"),
    [
        ("1snoke-20120412-hge", "", "1snoke"),
        ("Aaron-20080318-kdl_b", "someone", "aaron"),
        ("jean-luc-20080318-kdl", "", "jean-luc"),
        ("EN-Ann-20190312-abc1552348800", "", "ann"),
        ("anonymous-20080425-dzd", "anonymous", "anonymous-20080425-dzd"),
        ("EN-Anonymous-20190312-abc1552348800", "", "en-anonymous-20190312-abc1552348800"),
        ("tales of brook", "Jo Brook", "jo_brook"),
        ("my recordings", "", "my_recordings"),
        ("my recordings", "Anonymous", "my_recordings"),
    ],
)
def test_the_speaker_is_the_user(name, user, speaker):
    assert RECIPE.preparer.speakers.speaker_of(name, user) == speaker


def test_a_user_is_one_speaker_and_the_first_accent_told_counts(corpus):
    submit(corpus, "ann-20080101-abc", "Pronunciation dialect: unknown\n")
    submit(corpus, "Ann-20090101-abc", "Pronunciation dialect: Irish English\n")
    submit(corpus, "EN-ann-20190101-abc1546300800", "Pronunciation dialect: American English\n")
    splits, report = prepared(corpus)
    assert len(splits) == 1 and {row[2:4] for row in table(splits).values()} == {("ann", "commonwealth")}
    assert "ann tells accents of several groups; the first counts" in report.notes


def test_the_position_is_what_the_readme_says():
    position = RECIPE.preparer.speakers.position
    digest = hashlib.sha256("josé".encode()).hexdigest()
    assert position("josé") == int(digest[:16], 16) / 2**64
    assert position("anonymous-20080425-dzd") == pytest.approx(0.515084, abs=1e-6)


def crowd(num_speakers: int, count: int = 10, group: str | None = "indian") -> dict:
    return {f"user{number}": (group, count) for number in range(num_speakers)}


def test_a_fifth_is_tested_and_more_speakers_move_nobody():
    choose, position = RECIPE.preparer.speakers.choose, RECIPE.preparer.speakers.position
    few, many = choose(crowd(100)), choose(crowd(450))
    assert few == {name: many[name] for name in few}
    for name, (split, used) in many.items():
        assert split == ("test" if position(name) < 0.2 else "dev" if position(name) < 0.25 else "train")
        assert used == 10
    assert 60 < sum(split == "test" for split, _ in many.values()) < 102


def test_without_a_group_nobody_is_tested():
    chosen = RECIPE.preparer.speakers.choose(crowd(200, group=None))
    assert {split for split, _ in chosen.values()} == {"train", "dev"}


def test_a_full_test_set_has_1024_utterances_of_the_first_speakers():
    position = RECIPE.preparer.speakers.position
    chosen = RECIPE.preparer.speakers.choose(crowd(2000))
    tested = sorted((name for name, (split, _) in chosen.items() if split == "test"), key=position)
    assert sum(chosen[name][1] for name in tested) == 1024 and len(tested) == 103
    assert tested == sorted(chosen, key=position)[:103] and chosen[tested[-1]] == ("test", 4)
    beyond = sorted(chosen, key=position)[103]
    assert position(beyond) < 0.2 and chosen[beyond] == ("train", 10)


def test_one_voice_gives_64_utterances_at_most():
    chosen = RECIPE.preparer.speakers.choose(crowd(300, count=500))
    assert {used for split, used in chosen.values() if split == "test"} == {64}
    assert {used for split, used in chosen.values() if split == "train"} == {500}
    assert sum(used for split, used in chosen.values() if split == "test") == 1024


def test_what_is_over_is_reported_and_the_first_are_kept(corpus, monkeypatch):
    name = next(f"u{n}" for n in range(99) if RECIPE.preparer.speakers.position(f"u{n}") < 0.2)
    for date in (2008, 2009):
        submit(corpus, f"{name}-{date}0101-abc", "Pronunciation dialect: Indian English\n")
    monkeypatch.setattr(RECIPE.preparer.speakers, "MOST_OF_A_SPEAKER", 3)
    splits, report = prepared(corpus)
    assert list(splits["test"].ids) == [f"{name}-20080101-abc-a0001", f"{name}-20080101-abc-a0002", f"{name}-20090101-abc-a0001"]
    assert dropped(report) == {(f"{name}-20090101-abc-a0002", "over what a speaker or a group gives to the set")}


def test_the_split_stays_when_submissions_are_added(corpus):
    for number in range(40):
        submit(corpus, f"user{number}-20080101-abc", "Pronunciation dialect: European English\n")
    before = table(prepared(corpus)[0])
    for number in range(20, 60):
        submit(corpus, f"user{number}-20100101-abc", "Pronunciation dialect: European English\n")
    after = table(prepared(corpus)[0])
    assert before.items() <= after.items() and len(after) == 160
    assert {row[0] for row in before.values()} == {"train", "dev", "test"}
    assert "european, utterances by speakers" in "\n".join(prepared(corpus)[1].notes)


# --- download ---


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder with Range, whose file `cut` ends early the first time."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return super().do_GET()
        content, span = path.read_bytes(), self.headers["Range"]
        start = int(span[6:-1]) if span else 0
        self.server.asked.append((path.name, span))
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) // 2 if path.name in self.server.cut else len(content)
        self.server.cut.discard(path.name)
        self.wfile.write(content[start:end])

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    site = tmp_path / "site"
    for name in ("ann-20080101-abc", "bob-20090101-def", "cy d-20100101-ghi"):
        pack(submit(site, name, "Pronunciation dialect: Indian English\n"))
    (site / "checksums.md5").touch()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site)) as server:
        server.site, server.cut, server.asked = site, set(), []
        here = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(RECIPE.preparer, "MIRRORS", ("http://127.0.0.1:1", f"{here}/nothing", here))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def download(corpus: Path) -> None:
    RECIPE.preparer.download(corpus, ["train", "dev", "test"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


ARCHIVES = ["ann-20080101-abc.tgz", "bob-20090101-def.tgz", "cy d-20100101-ghi.tgz"]


def test_download_fetches_every_submission_once(server, corpus):
    download(corpus)
    assert names(corpus / "tgz") == [*ARCHIVES[:2], "checksums.txt", ARCHIVES[2]]
    assert all((corpus / "tgz" / name).read_bytes() == (server.site / name).read_bytes() for name in ARCHIVES)
    download(corpus)
    assert len(server.asked) == 3
    assert len(table(prepared(corpus)[0])) == 6


def test_a_transfer_cut_off_costs_one_submission_until_the_next_run(server, corpus):
    server.cut = {ARCHIVES[1]}
    with pytest.raises(UserError, match=r"^1 of 3 submissions are missing.*bob-20090101-def\.tgz.*\nRun this again"):
        download(corpus)
    assert names(corpus / "tgz") == [ARCHIVES[0], f"{ARCHIVES[1]}.part", "checksums.txt", ARCHIVES[2]]
    half = (server.site / ARCHIVES[1]).stat().st_size // 2
    download(corpus)
    assert server.asked[-1] == (ARCHIVES[1], f"bytes={half}-")
    assert (corpus / "tgz" / ARCHIVES[1]).read_bytes() == (server.site / ARCHIVES[1]).read_bytes()


def test_an_archive_that_changed_is_refused(server, corpus):
    download(corpus)
    (corpus / "tgz" / ARCHIVES[0]).unlink()
    sums = [hashlib.sha256((server.site / ARCHIVES[0]).read_bytes()).hexdigest()]
    (server.site / ARCHIVES[0]).write_bytes(b"another")
    with pytest.raises(UserError, match=rf"1 of 3 .*ann-20080101-abc\.tgz.*{hashlib.sha256(b'another').hexdigest()}.*{sums[0]}"):
        download(corpus)
    assert not (corpus / "tgz" / ARCHIVES[0]).exists()


def test_mirrors_that_all_fail_end_it_soon(server, corpus, monkeypatch):
    monkeypatch.setattr(RECIPE.preparer, "FAILURES_IN_A_ROW", 2)
    monkeypatch.setattr(RECIPE.preparer, "listed", lambda: [f"no-20080101-{n}.tgz" for n in range(50)])
    with pytest.raises(UserError, match=r"^50 of 50 submissions are missing"):
        download(corpus)
    assert names(corpus / "tgz") == []


def test_a_page_without_archives_is_passed_over(server, corpus, monkeypatch):
    here = RECIPE.preparer.MIRRORS[2]
    (server.site / "parked").mkdir()
    monkeypatch.setattr(RECIPE.preparer, "MIRRORS", (f"{here}/parked", here))
    assert RECIPE.preparer.listed() == ARCHIVES
    monkeypatch.setattr(RECIPE.preparer, "MIRRORS", (f"{here}/parked",))
    with pytest.raises(UserError, match=r"parked lists no archives.*--corpus-dir"):
        download(corpus)
