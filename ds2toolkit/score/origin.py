"""Where a measured figure comes from: the command, the commit of the toolkit, the date, the model and its seed."""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ds2toolkit
from ds2toolkit.files import write_json

PACKAGE = Path(ds2toolkit.__file__).parent
FILE = "model.json"


def write_model(decode: Path, model: str, training: Mapping[str, Any], num_parameters: int) -> None:
    """Note beside the hypotheses of an experiment which model they are of, by its name as in `librispeech-ds2`.

    training: its configuration as plain values.
    """
    noted = {"model": model, "seed": training["seed"], "num_parameters": num_parameters, "training": dict(training)}
    write_json(decode / FILE, noted)


def read_model(decode: Path) -> dict[str, Any]:
    """What `write_model` noted; nothing where an older version decoded."""
    try:
        return dict(json.loads((decode / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def origin(decode: Path, **known: Any) -> dict[str, Any]:
    """The `origin` of score.json; known: what the caller knows, such as the recipe and the command."""
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    return {**known, "version": ds2toolkit.__version__, "commit": commit(), "date": now, **read_model(decode)}


def commit() -> str | None:
    """The commit of the toolkit, with `-dirty` where files were changed; None where it is no checkout of its own."""
    if git("rev-parse", "--show-toplevel") != str(PACKAGE.resolve().parent):
        return None
    return git("describe", "--always", "--dirty", "--exclude=*")


def git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
