"""Downloads from a server on this machine: cut off and resumed, mirrors in order, sums kept."""

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ds2toolkit.data.fetch import Checksums, fetch, fetch_first
from ds2toolkit.errors import DataError, UserError

CONTENT = bytes(range(256)) * 1000


class Server(ThreadingHTTPServer):
    """Serves `files`. One named in `cut` ends early, once; `ranges` says whether a part may be asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name, span = self.path.lstrip("/"), self.headers["Range"]
        self.server.asked.append((name, span))
        content = self.server.files.get(name)
        start = int(span[6:-1]) if span and self.server.ranges else 0
        if content is None or (start and start >= len(content)):
            return self.send_error(404 if content is None else 416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) // 2 if name in self.server.cut else len(content)
        self.server.cut.discard(name)
        self.wfile.write(content[start:end])

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_once(server, tmp_path):
    server.files["a.tgz"] = CONTENT
    for _ in range(2):
        fetch(server.url("a.tgz"), tmp_path / "new" / "a.tgz", num_bytes=len(CONTENT))
    assert (tmp_path / "new" / "a.tgz").read_bytes() == CONTENT and names(tmp_path / "new") == ["a.tgz"]
    assert server.asked == [("a.tgz", None)]


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_transfer_cut_off_goes_on(server, tmp_path, ranges):
    server.files["a.tgz"], server.cut, server.ranges = CONTENT, {"a.tgz"}, ranges
    path = tmp_path / "a.tgz"
    with pytest.raises(UserError, match="ended after 128000 of 256000 bytes[\\s\\S]*Run this again to go on"):
        fetch(server.url("a.tgz"), path)
    assert names(tmp_path) == ["a.tgz.part"]
    fetch(server.url("a.tgz"), path)
    assert path.read_bytes() == CONTENT and server.asked[1] == ("a.tgz", "bytes=128000-")


@pytest.mark.parametrize("num_bytes", [len(CONTENT), len(CONTENT) + 10])
def test_a_part_that_can_have_no_rest_is_fetched_again(server, tmp_path, num_bytes):
    server.files["a.tgz"] = CONTENT
    (tmp_path / "a.tgz.part").write_bytes(b"x" * num_bytes)
    fetch(server.url("a.tgz"), tmp_path / "a.tgz")
    assert (tmp_path / "a.tgz").read_bytes() == CONTENT


def test_a_file_of_another_size_is_no_file(server, tmp_path):
    server.files["a.tgz"] = CONTENT
    with pytest.raises(UserError, match="256000 of 256001 bytes came"):
        fetch(server.url("a.tgz"), tmp_path / "a.tgz", num_bytes=len(CONTENT) + 1)
    assert not (tmp_path / "a.tgz").exists()


def test_the_next_mirror_goes_on_with_the_part(server, tmp_path):
    server.files |= {"one/a.tgz": CONTENT, "two/a.tgz": CONTENT}
    server.cut = {"one/a.tgz"}
    mirrors = [server.url("none/a.tgz"), "http://127.0.0.1:1/a.tgz", server.url("one/a.tgz"), server.url("two/a.tgz")]
    fetch_first(mirrors, tmp_path / "a.tgz")
    assert (tmp_path / "a.tgz").read_bytes() == CONTENT
    assert server.asked == [("none/a.tgz", None), ("one/a.tgz", None), ("two/a.tgz", "bytes=128000-")]


def test_no_mirror_is_one_message(server, tmp_path):
    with pytest.raises(UserError, match=r"none/a\.tgz failed: HTTP Error 404.*\n.*--corpus-dir") as error:
        fetch_first(["http://127.0.0.1:1/a.tgz", server.url("none/a.tgz")], tmp_path / "a.tgz")
    assert str(error.value).count("\n") == 1 and names(tmp_path) == []


def test_a_mirror_with_another_file_is_passed_over(server, tmp_path):
    server.files |= {"old/a.tgz": CONTENT[:-1], "new/a.tgz": CONTENT}
    expected = hashlib.sha256(CONTENT).hexdigest()
    fetch_first([server.url("old/a.tgz"), server.url("new/a.tgz")], tmp_path / "a.tgz", sha256=expected)
    assert (tmp_path / "a.tgz").read_bytes() == CONTENT
    with pytest.raises(DataError, match=rf"old/b.*its sha256 is \w+, not {expected}"):
        server.files["old/b"] = CONTENT[1:]
        fetch_first([server.url("old/b"), server.url("none/b")], tmp_path / "b", sha256=expected)
    assert names(tmp_path) == ["a.tgz"]


def test_sums_are_written_as_sha256sum_writes_them(server, tmp_path):
    server.files |= {"a b.tgz": CONTENT, "b.tgz": b"other"}
    server.files["a%20b.tgz"] = server.files.pop("a b.tgz")
    checksums = Checksums(tmp_path)
    checksums.fetch([server.url("a%20b.tgz")], tmp_path / "a b.tgz")
    Checksums(tmp_path).fetch([server.url("b.tgz")], tmp_path / "b.tgz")
    sums = [hashlib.sha256(content).hexdigest() for content in (CONTENT, b"other")]
    written = (tmp_path / "checksums.txt").read_text(encoding="utf-8")
    assert written == f"{sums[0]}  a b.tgz\n{sums[1]}  b.tgz\n"
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "checksums.txt"], cwd=tmp_path, check=True)


def test_a_file_that_changed_is_named_with_both_sums(server, tmp_path):
    path = tmp_path / "a.tgz"
    server.files["a.tgz"] = CONTENT
    Checksums(tmp_path).fetch([server.url("a.tgz")], path)
    path.unlink()
    Checksums(tmp_path).fetch([server.url("a.tgz")], path)
    path.unlink()
    server.files["a.tgz"] = b"replaced"
    sums = [hashlib.sha256(content).hexdigest() for content in (b"replaced", CONTENT)]
    with pytest.raises(DataError, match=rf"a\.tgz.*{sums[0]}.*{sums[1]}.*checksums\.txt\.\n"):
        Checksums(tmp_path).fetch([server.url("a.tgz")], path)
    assert names(tmp_path) == ["checksums.txt"]
    assert len((tmp_path / "checksums.txt").read_text(encoding="utf-8").splitlines()) == 1
