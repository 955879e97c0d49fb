"""Emissions on disk: the network runs once, then any number of searches, in any process, read what they need."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ds2toolkit.files import sync, whole_folder, write_json


@dataclass(frozen=True)
class StoredEmissions:
    """A folder with the log-probabilities (S, V) of many utterances, in float32, and their names."""

    folder: Path

    @cached_property
    def meta(self) -> dict:
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))

    @property
    def names(self) -> list[str]:
        return self.meta["names"]

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([0, *self.meta["num_frames"]])

    @cached_property
    def _frames(self) -> np.ndarray:
        path, num_tokens = self.folder / "log_probs.f32", self.meta["num_tokens"]
        if not path.stat().st_size:
            return np.zeros((0, num_tokens), dtype=np.float32)
        return np.memmap(path, dtype="<f4", mode="r").reshape(-1, num_tokens)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> np.ndarray:
        """(S, V) of one utterance, read from the disk."""
        return np.array(self._frames[self._ends[number] : self._ends[number + 1]])

    def is_of(self, key: dict) -> bool:
        """Whether it is there, and of what `key` names."""
        try:
            return self.meta["key"] == key
        except (OSError, ValueError, KeyError):
            return False


def store(folder: Path, key: dict, num_tokens: int, emissions: Iterable[tuple[str, np.ndarray]]) -> StoredEmissions:
    """Write (name, log_probs_SV) one after the other, whole or not at all; key: what they are of, as plain values."""
    names, num_frames = [], []
    with whole_folder(folder) as part:
        with (part / "log_probs.f32").open("wb") as file:
            for name, log_probs_SV in emissions:
                file.write(np.ascontiguousarray(log_probs_SV, dtype="<f4").data)
                names.append(name)
                num_frames.append(len(log_probs_SV))
        sync(part / "log_probs.f32")
        write_json(part / "meta.json", {"key": key, "num_tokens": num_tokens, "names": names, "num_frames": num_frames})
    return StoredEmissions(folder)
