"""ARPA files of n-gram models, read entry by entry and held to the counts they announce."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ds2toolkit.errors import DataError
from ds2toolkit.text.compressed import open_text

BOS, EOS, UNK = "<s>", "</s>", "<unk>"
COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
SECTION = re.compile(r"\\(\d+)-grams:")

Ngram = tuple[str, ...]


def arpa_entries(path: Path) -> Iterator[tuple[Ngram, float, float]]:
    r"""Every n-gram of an ARPA file, in order: words, log10 probability, log10 back-off weight (or 0).

    The file may be plain, gzipped or LZW-compressed (.z) and have a preamble, as WSJ's have: what counts begins
    with the last \data\ before the n-grams. Raises DataError when it is missing, damaged, or does not hold the
    counts it announces.
    """
    announced: dict[int, int] = {}
    found: Counter = Counter()
    length = 0
    for number, line in _numbered(path):
        try:
            if count := COUNT.fullmatch(line):
                announced[int(count[1])] = int(count[2])
            elif section := SECTION.fullmatch(line):
                length += 1
                if int(section[1]) != length:
                    raise ValueError
            elif length and line:
                yield _entry(line.split(), length)
                found[length] += 1
        except ValueError:
            raise DataError(f"{path}:{number}: not a line of an ARPA file: {line[:60]!r}") from None
    if not announced or any(found[n] != count for n, count in announced.items()):
        raise DataError(
            f"{path} announces n-grams {announced} and holds {dict(found)}: fetch or estimate it again"
        )


def _entry(fields: list[str], length: int) -> tuple[Ngram, float, float]:
    if not length + 1 <= len(fields) <= length + 2:
        raise ValueError
    return (
        tuple(fields[1 : length + 1]),
        float(fields[0]),
        float(fields[length + 1]) if fields[length + 1 :] else 0.0,
    )


def arpa_lines(path: Path) -> Iterator[str]:
    r"""The lines from \data\ to \end\ without spaces around them, for who takes the n-grams as they are.

    Raises DataError when the file is missing, damaged, or has no end.
    """
    yield from (line for _, line in _numbered(path))
    yield "\\end\\"


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    if not path.exists():
        raise DataError(f"{path} does not exist; `ds2 lm` writes a language model")
    begun = False
    with open_text(path) as file:
        lines = ((number, line.strip()) for number, line in enumerate(file, 1))
        for number, line in _from_data_mark(lines):
            if line == "\\end\\":
                return
            begun = True
            yield number, line
    what = "ends in the middle" if begun else "is empty or not an ARPA file"
    raise DataError(f"{path} {what} (no \\end\\ line): fetch or estimate it again")


def _from_data_mark(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    r"""From the \data\ that counts and an n-gram follow; one in a preamble only shows what such files look like."""
    lines = iter(lines)
    head: list[tuple[int, str]] = []
    for number, line in lines:
        if head and head[-1][1] == "\\1-grams:" and line and _is_unigram(line):
            yield from (*head, (number, line))
            yield from lines
        elif line == "\\data\\":
            head = [(number, line)]
        elif head and (COUNT.fullmatch(line) or line == "\\1-grams:"):
            head.append((number, line))
        elif line:
            head = []


def _is_unigram(line: str) -> bool:
    try:
        return bool(_entry(line.split(), 1))
    except ValueError:
        return False
