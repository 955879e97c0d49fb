"""Archives: what was packed comes out, or one message and nothing on the disk."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.data.archive import unpack
from ds2toolkit.errors import DataError

FILES = {"speech/etc/PROMPTS": b"a0001 HELLO\n" * 500, "speech/wav/a0001.wav": bytes(range(256)) * 40}
MODES = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2"}


def pack(path: Path, files: dict[str, bytes] = FILES, mode: str | None = None) -> Path:
    with tarfile.open(path, mode or MODES[path.name.partition(".")[2]]) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ending", MODES)
def test_what_was_packed_comes_out(tmp_path, ending):
    archive = pack(tmp_path / f"a.{ending}")
    folder = tmp_path / "scratch" / "a"
    assert unpack(archive, folder) == folder
    assert contents(folder) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["a"]


def test_a_folder_that_is_there_stays(tmp_path):
    (tmp_path / "a").mkdir()
    unpack(tmp_path / "no-such.tar", tmp_path / "a")
    assert contents(tmp_path / "a") == {}


@pytest.mark.parametrize("ending", MODES)
@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.6, 0.75])
def test_an_archive_cut_off_leaves_nothing(tmp_path, ending, part):
    archive = pack(tmp_path / f"a.{ending}")
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataError, match=rf"a\.{ending} is damaged[\s\S]*Delete it and fetch it again"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_plain_tar_cut_between_two_files_is_found(tmp_path):
    """It reads well to the end: only the block of zeros is missing."""
    archive = pack(tmp_path / "a.tar")
    with tarfile.open(archive) as tar:
        end_of_first = tar.getmembers()[1].offset
    archive.write_bytes(archive.read_bytes()[:end_of_first])
    with pytest.raises(DataError, match="no end of archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_header_between_two_files_is_found(tmp_path):
    """tarfile alone would give the first file and be silent."""
    archive = pack(tmp_path / "a.tar")
    with tarfile.open(archive) as tar:
        second = tar.getmembers()[1].offset
    data = bytearray(archive.read_bytes())
    data[second : second + 100] = b"\xff" * 100
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_damaged_byte_of_a_gzip_goes_unseen(tmp_path_factory, position, flip):
    """Past gzip's own header, which says nothing of the content."""
    folder = tmp_path_factory.mktemp("damage")
    data = bytearray(pack(folder / "a.tgz").read_bytes())
    data[(index := 10 + int(position * (len(data) - 10)))] ^= flip
    (folder / "a.tgz").write_bytes(data)
    try:
        unpack(folder / "a.tgz", folder / "out")
    except DataError:
        assert not (folder / "out").exists()
    else:
        assert contents(folder / "out") == FILES, index


@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_tar_ends_in_a_message_or_in_files(tmp_path_factory, position, flip):
    """A plain tar has no checksum of its contents, so nothing more can be asked of it."""
    folder = tmp_path_factory.mktemp("damage")
    data = bytearray(pack(folder / "a.tar").read_bytes())
    data[int(position * len(data))] ^= flip
    (folder / "a.tar").write_bytes(data)
    try:
        unpack(folder / "a.tar", folder / "out")
    except DataError:
        assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["../escaped.txt", "speech/../../escaped.txt"])
def test_a_path_that_climbs_out_is_refused(tmp_path, name):
    archive = pack(tmp_path / "inner.tgz", {**FILES, name: b"x"})
    with pytest.raises(DataError, match=r"inner\.tgz"):
        unpack(archive, tmp_path / "deep" / "out")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [] and not (tmp_path / "escaped.txt").exists()


def test_a_link_that_leads_out_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("speech/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match=r"a\.tgz"):
        unpack(tmp_path / "a.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_archive_is_a_message(tmp_path):
    with pytest.raises(DataError, match=r"a\.tgz cannot be unpacked.*No such file"):
        unpack(tmp_path / "a.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_an_interrupted_run_left_is_cleared(tmp_path):
    (tmp_path / "part.out").mkdir()
    (tmp_path / "part.out" / "stale").touch()
    unpack(pack(tmp_path / "a.tgz"), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES and not (tmp_path / "part.out").exists()
