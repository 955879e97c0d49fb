"""What was said in CHiME's recordings: by *.dot_all, else by WSJ0 for what is made of it, else by the annotations."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ds2toolkit.data.corpus import read_lines
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError
from ds2toolkit.text.dot import parse_dot

MADE_OF_WSJ0 = ("tr05_simu", "tr05_org")
WSJ0_PLACES = ("data/WSJ0", "data/wsj0", "WSJ0", "wsj0", "../WSJ0", "../wsj0")


def read(root: Path, split: str, names: set[str], report: Report) -> dict[str, str]:
    """Raw text by CHiME's id (no channel) of `names` and of whatever else the copy lists; "" where there is none.

    Raises DataError when the copy has no text of the split at all, or a damaged file of annotations.
    """
    dot_all = root / f"data/transcriptions/{split}.dot_all"
    annotations = root / f"data/annotations/{split}.json"
    if dot_all.is_file():
        return read_dot_all(dot_all, split, report)
    annotated = read_annotations(annotations, split) if annotations.is_file() else {}
    in_wsj0 = read_wsj0(root, names | annotated.keys()) if split in MADE_OF_WSJ0 else {}
    texts = annotated | in_wsj0
    if not any(texts.values()):
        link = f"link WSJ0 (LDC93S6A), of which it is made, as {root / WSJ0_PLACES[0]}"
        raise DataError(
            f"no transcripts of {split}: looked for {dot_all} and {annotations}.\n"
            f"If you have neither, {link if split in MADE_OF_WSJ0 else 'copy them anew'}."
        )
    counts = {"WSJ0's .dot files": len(in_wsj0), annotations.name: len(texts.keys() - in_wsj0.keys())}
    sources = " and ".join(f"{count} texts from {source}" for source, count in counts.items() if count)
    report.notes.append(f"{split}: no {dot_all.name}; {sources}")
    return texts


def read_dot_all(path: Path, split: str, report: Report) -> dict[str, str]:
    texts: dict[str, str] = {}
    for line in read_lines(path):
        raw, name = parse_dot(line) or (line, "-")
        if name == "-" or name in texts:
            report.drop(split, name, "malformed transcript" if name == "-" else "second transcript", line)
        else:
            texts[name] = raw
    return texts


def read_annotations(path: Path, split: str) -> dict[str, str]:
    """The text of each entry, which may end in its id as a line of a .dot file does."""
    fixed = split.rpartition("_")[2].upper()
    try:
        texts = {}
        for entry in json.loads(path.read_text(encoding="utf-8", errors="replace")):
            place = entry["environment"] if fixed in ("REAL", "SIMU") else fixed
            dot = (entry.get("dot") or "").strip()
            texts[f"{entry['speaker']}_{entry['wsj_name']}_{place}".upper()] = (parse_dot(dot) or (dot, ""))[0]
        return texts
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is not CHiME's list of annotations ({what}); copy it anew") from None


def read_wsj0(root: Path, names: set[str]) -> dict[str, str]:
    """Texts of `011_011C0201_BUS` and the like through the .dot file of the WSJ0 utterance 011c0201."""
    wsj_ids = {name: name.split("_")[1].lower() for name in names if name.count("_") == 2}
    dots = find_dots(root)
    spoken: dict[str, str] = {}
    for stem in sorted({f"{wsj_id[:6]}00" for wsj_id in wsj_ids.values()} & dots.keys()):
        parsed = filter(None, map(parse_dot, read_lines(dots[stem])))
        spoken |= {wsj_id.lower(): raw for raw, wsj_id in parsed}
    return {name: spoken[wsj_id] for name, wsj_id in wsj_ids.items() if wsj_id in spoken}


def find_dots(root: Path) -> dict[str, Path]:
    """WSJ0's .dot files by their lower-case names, in the copy's own WSJ0 or one beside it, however it is laid out."""
    for place in WSJ0_PLACES:
        files = walk(root / place)
        if dots := {path.stem.lower(): path for path in files if path.suffix.lower() == ".dot"}:
            return dots
    return {}


def walk(folder: Path) -> Iterator[Path]:
    for above, _, names in os.walk(folder, followlinks=True):
        yield from (Path(above, name) for name in names)
