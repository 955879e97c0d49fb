"""Transcripts as the network spells them: one function a language."""

import re
import unicodedata
from collections.abc import Callable

from ds2toolkit.errors import ConfigError

APOSTROPHES = dict.fromkeys(map(ord, "’‘‛ʼʹ′＇`´"), "'")
ABBREVIATION_DOT = re.compile(r"(?<=\b\w)\.")


def english(text: str) -> str:
    """Lower-case words of a–z and apostrophe, one space between them.

    Accents go (é becomes e), punctuation ends a word (hyphens too) except in abbreviations (U.S. becomes us).
    What would have to be spelled out first (digits, &, %, $, other scripts) stays, for the caller to find.
    """
    text = _fold(_fold(text))
    text = ABBREVIATION_DOT.sub("", text)
    words = map(_unquoted, "".join(map(_keep_or_space, text)).split())
    return " ".join(filter(None, words))


def _fold(text: str) -> str:
    """Compatibility forms, typographic apostrophes, capitals and accents taken back to plain letters."""
    text = unicodedata.normalize("NFKD", text.translate(APOSTROPHES)).translate(APOSTROPHES).casefold()
    return "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Me", "Cf"))


def _keep_or_space(character: str) -> str:
    spoken = character in "'&%@#" or unicodedata.category(character) in ("Sc", "Sm")
    letter = unicodedata.category(character)[0] in "LMN"
    return character if spoken or letter else " "


def _unquoted(word: str) -> str:
    return word.strip("'") if word[0] == word[-1] == "'" else word


NORMALISERS: dict[str, Callable[[str], str]] = {"english": english}


def normalise(language: str, text: str) -> str:
    """`text` by the rules of `language`. Raises ConfigError for a language without any."""
    if language not in NORMALISERS:
        raise ConfigError(f"language {language!r} has no text rules; known: {', '.join(sorted(NORMALISERS))}")
    return NORMALISERS[language](text)
