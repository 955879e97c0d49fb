"""Downloads that go on where they stopped, appear whole or not at all, and fail in one sentence."""

import errno
import http.client
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lhotse.utils import resumable_download

from ds2toolkit.errors import UserError


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the failures of a download or of an archive into a UserError."""
    try:
        yield
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full: {what} does not fit. Make room and run this again.") from None
        raise UserError(
            f"downloading {what} failed: {error}.\n"
            "Run this again to go on where it stopped, or name a copy that you already have: --corpus-dir DIR"
        ) from None


def fetch(url: str, path: Path, num_bytes: int | None = None) -> None:
    """Download `url` to `path` unless it is there, resuming `path`.part.

    Raises UserError when it can't or when the file has not num_bytes.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with explained(url):
        resumable_download(url, part, completed_file_size=num_bytes)
        if num_bytes is not None and part.stat().st_size != num_bytes:
            raise EOFError(f"{part.stat().st_size} of {num_bytes} bytes came")
    part.replace(path)
