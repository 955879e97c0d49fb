"""What words are in a language: split at spaces, or single characters where the writing has no spaces."""

from collections.abc import Iterable
from typing import Literal

Unit = Literal["word", "character"]


def split_units(text: str, unit: Unit) -> list[str]:
    """Words between spaces, or characters: spaces are never counted, in no language.

    Mandarin has none to speak of, and without them an English character error rate is not
    diluted by the easiest symbol; deepspeech.pytorch counts the same way.
    """
    return text.split() if unit == "word" else list("".join(text.split()))


def join_units(units: Iterable[str], unit: Unit) -> str:
    """The text that `split_units` takes apart into these."""
    return (" " if unit == "word" else "").join(units)
