"""Files and folders that appear whole or not at all: written beside their place, synced, renamed."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ds2toolkit.errors import UserError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path to write to; it becomes `path` only when the block ends without an error.

    It ends as `path` does, because lhotse and torch tell formats by the end of a name.
    Raises UserError when the disk is full or the file larger than is allowed.
    """
    part = _beside(path)
    try:
        with _room_on_disk(path):
            yield part
            sync(part)
            part.replace(path)
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: whatever stands at `path` is replaced when the block ends without an error."""
    part = _beside(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        with _room_on_disk(path):
            yield part
            shutil.rmtree(path, ignore_errors=True)
            part.replace(path)
            sync(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"part.{path.name}")


@contextmanager
def _room_on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"{path} could not be written: the disk (or the quota) is full. Make room and run this again.") from None
        raise


def sync(path: Path) -> None:
    """Force a file or the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
