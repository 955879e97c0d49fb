"""Downloads that go on where they stopped, appear whole or not at all, and fail in one sentence."""

import errno
import hashlib
import http.client
import re
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ds2toolkit.errors import DataError, UserError

TIMEOUT_S = 60
CHUNK_BYTES = 1 << 16
SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")
RANGE_NOT_SATISFIABLE = 416


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the failures of a download or of an archive into a UserError."""
    try:
        yield
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError, zlib.error, DataError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full: {what} does not fit. Make room and run this again.") from None
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"downloading {what} failed: {reason}.\n"
            "Run this again to go on where it stopped, or name a copy that you already have: --corpus-dir DIR"
        ) from None


def fetch(url: str, path: Path, num_bytes: int | None = None, sha256: str | None = None) -> None:
    """Download `url` to `path` unless it is there, resuming `path`.part.

    Raises UserError when it can't or when the file has not num_bytes, DataError when its sum is another.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with explained(url):
        _resume(url, part)
        if num_bytes is not None and part.stat().st_size != num_bytes:
            raise EOFError(f"{part.stat().st_size} of {num_bytes} bytes came")
    if sha256 is not None and (found := sum_of(part)) != sha256:
        part.unlink()
        raise DataError(f"{url} is not the file that was expected: its sha256 is {found}, not {sha256}")
    part.replace(path)


def fetch_first(
    urls: Sequence[str], path: Path, num_bytes: int | None = None, sha256: str | None = None
) -> None:
    """Download a file from the first of its mirrors that has it; each goes on where the one before stopped.

    Raises the last mirror's error, or that of one whose file was not the expected one.
    """
    errors: list[UserError] = []
    for url in urls:
        try:
            return fetch(url, path, num_bytes, sha256)
        except UserError as error:
            errors.append(error)
    raise next((error for error in errors if isinstance(error, DataError)), errors[-1])


def read_page(url: str) -> str:
    """The text of a page, such as a list of files. Raises UserError when it can't be had whole."""
    with explained(url), _open(url, 0) as response:
        return response.read().decode("utf-8", errors="replace")


def _resume(url: str, part: Path) -> None:
    """Download what `part` lacks. Raises EOFError when the transfer was cut off.

    Not lhotse's resumable_download: that takes a cut-off transfer for a whole one, and appends the whole
    file to the part where a server knows no ranges.
    """
    try:
        response = _open(url, part.stat().st_size if part.exists() else 0)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()
        response = _open(url, 0)
    with response:
        span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        _save(response, part, start=int(span[1]) if span else 0)


def _open(url: str, start: int):
    headers = {"User-Agent": "ds2toolkit"} | ({"Range": f"bytes={start}-"} if start else {})
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)


def _save(response, part: Path, start: int) -> None:
    left = response.headers.get("Content-Length")
    total = None if left is None else start + int(left)
    bar = {"unit": "B", "unit_scale": True, "leave": False, "disable": None}
    with part.open("ab") as file, tqdm(desc=part.stem, total=total, initial=start, **bar) as progress:
        file.truncate(start)
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            progress.update(len(chunk))
    if total is not None and (found := part.stat().st_size) < total:
        raise EOFError(f"the connection ended after {found} of {total} bytes")


def sum_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class Checksums:
    """What was fetched before, by its sum: `checksums.txt` beside the files, as sha256sum writes and checks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checksums.txt"
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.sums = {match[2]: match[1] for line in lines if (match := SUM.fullmatch(line))}

    def fetch(self, urls: Sequence[str], path: Path) -> None:
        """`fetch_first`, held to the sum that a file of this name had when it first came, noted if it is new.

        Raises DataError when it has another sum now.
        """
        try:
            fetch_first(urls, path, sha256=self.sums.get(path.name))
        except DataError as error:
            raise DataError(f"{error} as in {self.path}.\nDelete its line there to take the new file.") from None
        if path.name not in self.sums:
            self.sums[path.name] = sum_of(path)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{self.sums[path.name]}  {path.name}\n")
