"""Archives unpacked whole or not at all, so that a damaged one never passes for a small one."""

import gzip
import io
import lzma
import os
import shlex
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ds2toolkit import parallel
from ds2toolkit.errors import DataError
from ds2toolkit.files import whole_folder

DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)
CHUNK_BYTES = 1 << 20


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar, plain or compressed, into `folder`; one that is there already stays. Returns `folder`.

    Raises DataError when the archive is missing, damaged, cut off or would write outside `folder`, UserError
    when the disk is full; nothing is left behind then.
    """
    if folder.exists():
        return folder
    try:
        with tarfile.open(archive) as tar, whole_folder(folder) as part:
            tar.extractall(part, filter="data")
            _check_end(tar)
    except DAMAGE as error:
        raise DataError(
            f"{archive} is damaged or cut off ({error}).\nDelete it and fetch it again: rm {shlex.quote(str(archive))}"
        ) from None
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked to {folder}: {error.strerror or error}") from None
    return folder


def _check_end(tar: tarfile.TarFile) -> None:
    """Read to the end: tarfile takes a broken header for the end, and checksums stand after the last file.

    Only a plain tar has nothing but its block of zeros to say that it is whole.
    """
    tar.fileobj.seek(tar.offset)
    mark = tar.fileobj.read(tarfile.BLOCKSIZE)
    if mark.strip(b"\0") or (not mark and isinstance(tar.fileobj, io.BufferedReader)):
        raise tarfile.ReadError("no end of archive after its last whole file")
    while tar.fileobj.read(CHUNK_BYTES):
        pass


def unpack_all(folders: Mapping[Path, Path], title: str) -> dict[Path, DataError]:
    """Unpack archives (archive -> folder) over all cores under a progress bar; what is wrong, by archive.

    Raises UserError when the disk is full.
    """

    def fault(archive: Path) -> DataError | None:
        try:
            unpack(archive, folders[archive])
        except DataError as error:
            return error
        return None

    num_jobs = os.cpu_count() or 1
    faults = parallel.run(fault, list(folders), num_jobs, title, chunk=1, threads=True, unit="archive")
    return {archive: fault for archive, fault in zip(folders, faults, strict=True) if fault}
