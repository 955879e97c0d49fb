"""search.json, beside the checkpoint: the weights that `ds2 tune` chose, and what they were chosen for."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ds2toolkit.config import SearchConfig
from ds2toolkit.errors import DataError
from ds2toolkit.files import write_json

NAME = "search.json"


def digest(paths: Iterable[Path]) -> str:
    """One SHA-256 of the bytes of files, in their order."""
    return hashlib.sha256("".join(map(digest_of_file, paths)).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """tuned_as -> what was chosen and how. Empty without a file; raises DataError when it is damaged."""
    path = folder / NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if all(isinstance(entry["chosen"], dict) and entry["of"] for entry in entries.values()):
            return entries
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DataError(f"{path} is damaged: delete it, or write it again with `ds2 tune`")


def add(folder: Path, name: str, entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Write one entry beside the others. Returns all."""
    entries = {**read(folder), name: entry}
    write_json(folder / NAME, entries)
    return entries


def settings(entries: dict[str, dict[str, Any]], name: str, of: dict[str, str], config: SearchConfig) -> tuple[SearchConfig, str]:
    """The configuration with what was chosen for this checkpoint and this language model, and where it is from."""
    entry = entries.get(name)
    if entry is None:
        return config, "of recipe.yaml, not tuned"
    if changed := [part for part, hashed in of.items() if entry["of"].get(part) != hashed]:
        return config, f"of recipe.yaml: what was tuned is for another {' and another '.join(changed)}"
    return replace(config, **entry["chosen"]), "tuned on dev"
