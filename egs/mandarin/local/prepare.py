"""Mandarin as Lhotse cuts: AISHELL-1 (OpenSLR 33) or THCHS-30 (OpenSLR 18), by the option `corpus`."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from lhotse import CutSet

from ds2toolkit.data.archive import unpack
from ds2toolkit.data.fetch import fetch
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import ConfigError, DataError
from ds2toolkit.recipe import sibling

CORPORA = ("aishell", "thchs30")
CHUNK_BYTES = 1 << 20


def prepare(corpus_dir: Path, report: Report, scratch: Path, corpus: str = "aishell") -> dict[str, CutSet]:
    """The splits train, dev and test of the corpus, as far as the copy has them.

    corpus_dir: the corpus's own folder, the one above, or one with its archive as it was downloaded, which is
    unpacked below `scratch`. What can't be used goes to the report. Raises DataError without a corpus.
    """
    kind, corpus_dir = reader(corpus), Path(corpus_dir)
    root = find_root(corpus_dir, scratch, kind)
    home = corpus_dir.resolve().parent if root == corpus_dir else corpus_dir
    return kind.read(root, home, report, scratch)


def reader(corpus: str) -> ModuleType:
    if corpus not in CORPORA:
        raise ConfigError(f"the option corpus is {corpus!r}: expected {' or '.join(CORPORA)}")
    return sibling(__file__, corpus)


def find_root(corpus_dir: Path, scratch: Path, kind: ModuleType) -> Path:
    archive = corpus_dir / f"{kind.NAME}.tgz"
    for root in (corpus_dir, corpus_dir / kind.NAME):
        if holds(root, kind):
            return root
    if archive.is_file():
        root = unpack(archive, scratch / f"{kind.NAME}-{archive.stat().st_size}") / kind.NAME
        if holds(root, kind):
            return root
    raise DataError(
        f"no {kind.TITLE} in {corpus_dir}: looked for {kind.LANDMARK} there and in {kind.NAME}/, and for "
        f"{archive.name}.\n{describe(corpus_dir)}. (--corpus thchs30 is for THCHS-30 alone.)"
    )


def holds(root: Path, kind: ModuleType) -> bool:
    return next(root.glob(kind.LANDMARK), None) is not None


def download(corpus_dir: Path, splits: Sequence[str], corpus: str = "aishell") -> None:
    """Fetch the corpus from OpenSLR into `corpus_dir` and unpack it; all splits come in one archive.

    Raises UserError when network or disk fail, DataError when what came is not what was published.
    """
    kind = reader(corpus)
    for name, (num_bytes, md5) in kind.ARCHIVES.items():
        archive, folder = corpus_dir / name, corpus_dir / Path(name).stem
        if not folder.exists():
            fetch(f"{kind.URL}/{name}", archive, num_bytes)
            check(archive, md5)
            staging = unpack(archive, corpus_dir / f"{folder.name}.unpacked")
            (staging / folder.name).replace(folder)
            shutil.rmtree(staging)
            archive.unlink()


def check(archive: Path, md5: str) -> None:
    """Delete an archive that has not the sum that was published for it, and raise DataError."""
    digest = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if (found := digest.hexdigest()) != md5:
        archive.unlink()
        raise DataError(f"{archive} came with the md5 {found}, not {md5}.\nIt was deleted: run this again.")
