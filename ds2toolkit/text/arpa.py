"""ARPA files of n-gram models, read entry by entry and held to the counts they announce."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ds2toolkit.errors import DataError

BOS, EOS, UNK = "<s>", "</s>", "<unk>"

Ngram = tuple[str, ...]


def arpa_entries(path: Path) -> Iterator[tuple[Ngram, float, float]]:
    """Every n-gram of an ARPA file, in order: words, log10 probability, log10 back-off weight (or 0).

    Raises DataError when the file is missing, damaged, or does not hold the counts it announces.
    """
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            yield from _entries(file, path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; `ds2 lm` writes a language model") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: not an ARPA file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path} is a damaged gzip file: fetch or estimate it again") from None


def _entries(file: IO[str], path: Path) -> Iterator[tuple[Ngram, float, float]]:
    announced: dict[int, int] = {}
    found: Counter = Counter()
    length = 0
    for number, line in enumerate(file, 1):
        line = line.strip()
        if line == "\\end\\":
            break
        if not line or line == "\\data\\":
            continue
        try:
            if line.startswith("ngram "):
                n, _, count = line.removeprefix("ngram ").partition("=")
                announced[int(n)] = int(count)
            elif line.startswith("\\") and line.endswith("-grams:"):
                length += 1
                if line != f"\\{length}-grams:":
                    raise ValueError
            elif length:
                yield _entry(line.split(), length)
                found[length] += 1
        except ValueError:
            raise DataError(f"{path}:{number}: not a line of an ARPA file: {line[:60]!r}") from None
    else:
        what = "ends in the middle" if length else "is empty or not an ARPA file"
        raise DataError(f"{path} {what} (no \\end\\ line): fetch or estimate it again")
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
