"""What every method of decoding is opened with, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ds2toolkit.config import SearchConfig
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.units import Unit


class Found(NamedTuple):
    """The words of one utterance as the language model writes them, the search's score, whether it reached an end."""

    words: tuple[str, ...]
    score: float
    reached_final: bool


NOTHING = Found((), -float("inf"), False)


@dataclass(frozen=True)
class Material:
    """What methods search with: a graph's folder, beside which its language model and its lexicon stand."""

    graph: Path
    vocabulary: Vocabulary
    language: str
    unit: Unit

    @property
    def arpa(self) -> Path:
        return self.graph.with_name("G.arpa")

    @property
    def lexicon(self) -> Path:
        return self.graph.with_name("lexicon.txt")


class Search(Protocol):
    """An opened method, to be used in a with statement."""

    def __enter__(self) -> "Search": ...
    def __exit__(self, *_: object) -> None: ...
    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[Found]: ...


class ListingSearch(Search, Protocol):
    """One that finds more than the best: at most num distinct word sequences an utterance, the best first."""

    def nbest(self, log_probs: Sequence[np.ndarray], search: SearchConfig, num: int) -> list[list[Found]]: ...
