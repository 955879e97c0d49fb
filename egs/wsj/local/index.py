"""A copy of WSJ on disk, its files by lower-case paths from wsj0/ or wsj1/ on, as its indices name them."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ds2toolkit.data.corpus import read_lines
from ds2toolkit.data.report import Report

DISC = re.compile(r"(1[13])[-_](\d{1,2})[-._](\d)")
HALVES = ("wsj0", "wsj1")
ENTRY = re.compile(r"(?P<disc>\d+[-_]\d+[-._]\d+):(?P<before>\s*/?)(?P<file>\S+)")
SECOND_MICROPHONE = ".wv2"


@dataclass(frozen=True)
class Copy:
    """files: path in the corpus -> path here and the disc, as 13_34_1, "" where discs are merged."""

    files: dict[str, tuple[Path, str]]
    num_second_microphone: int

    def ending(self, end: str) -> list[str]:
        return sorted(name for name in self.files if name.endswith(end))


@dataclass(frozen=True)
class Entry:
    """A line of an index: the disc and file that it names, and what is odd about its spelling."""

    disc: str
    file: str
    oddities: tuple[str, ...]

    @property
    def id(self) -> str:
        return Path(self.file).stem


def walk(corpus_dir: Path) -> Copy:
    """Every file of WSJ0 and WSJ1 in `corpus_dir` and below, in one pass."""
    files: dict[str, tuple[Path, str]] = {}
    num_second_microphone = 0
    for folder, names in folders_below(corpus_dir):
        parts = (corpus_dir.resolve().name, *folder.relative_to(corpus_dir).parts)
        disc, place = placed([part.lower() for part in parts])
        for name in sorted(names) if place else ():
            lower = name.lower()
            if lower.endswith(SECOND_MICROPHONE):
                num_second_microphone += 1
            else:
                files.setdefault(f"{place}/{lower}", (folder / name, disc))
    return Copy(files, num_second_microphone)


def folders_below(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with the names of its files; copies are often made of links, which may lead in circles."""
    seen = set()
    for folder, inner, names in os.walk(top, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inner.sort()
        yield Path(folder), names


def placed(parts: Sequence[str]) -> tuple[str, str]:
    """Disc and place in the corpus of a folder: both "" for one that is outside wsj0/ and wsj1/."""
    discs = [number for number, part in enumerate(parts) if DISC.fullmatch(part)]
    disc = "_".join(DISC.fullmatch(parts[discs[-1]]).groups()) if discs else ""
    for number in range(discs[-1] + 1 if discs else 0, len(parts)):
        if parts[number] in HALVES and not set(parts[number + 1 : number + 2]) & set(HALVES):
            return disc, "/".join(parts[number:])
    return "", ""


def read_index(path: Path, split: str, report: Report) -> list[Entry]:
    """The entries `disc:file` of an .ndx file; any other line that is no comment goes to the report."""
    entries = []
    for line in read_lines(path):
        if match := ENTRY.fullmatch(line):
            entries.append(entry(match))
        elif not line.startswith(";"):
            report.drop(split, "-", "malformed line of an index", f"{path}: {line}")
    return entries


def entry(match: re.Match) -> Entry:
    file, oddities = match["file"].lower(), []
    if match["before"]:
        oddities.append("entries of the index with a space or a slash before the path")
    if not file.endswith(".wv1"):
        file += ".wv1"
        oddities.append("entries of the index without .wv1")
    return Entry(re.sub(r"\D", "_", match["disc"]), file, tuple(oddities))
