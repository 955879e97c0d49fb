"""Text files, plain or compressed, told apart by how they begin: WSJ's .z are of both kinds."""

import gzip
import io
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from ds2toolkit.errors import DataError, UserError

GZIP, LZW = b"\x1f\x8b", b"\x1f\x9d"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The text of a file that is plain, of gzip, or LZW of compress. Bytes that are not UTF-8 become U+FFFD.

    Raises DataError when the file can't be read or is damaged (of gzip's, when the damage is reached), UserError
    when it is LZW and there is no gzip program.
    """
    with _opened(path) as file:
        kind = file.read(len(LZW))
        file.seek(0)
        plain = gzip.open(file) if kind == GZIP else _lzw(path) if kind == LZW else file
        try:
            with io.TextIOWrapper(plain, encoding="utf-8", errors="replace") as text:
                yield text
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}") from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _lzw(path: Path) -> BinaryIO:
    """Decompressed in full by the gzip program, so that damage is known before the first line is used."""
    plain = tempfile.TemporaryFile()
    try:
        with path.open("rb") as file:
            done = subprocess.run(["gzip", "-dc"], stdin=file, stdout=plain, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise UserError(
            f"{path} is compressed with LZW, which takes the program gzip, and there is none.\n"
            "Run: apt-get install gzip"
        ) from None
    if done.returncode:
        raise DataError(f"{path} is damaged: {done.stderr.decode(errors='replace').strip()}")
    plain.seek(0)
    return plain
