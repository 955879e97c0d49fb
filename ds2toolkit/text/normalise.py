"""Transcripts as the network spells them: the rules and the alphabet of each language."""

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from ds2toolkit.errors import ConfigError

APOSTROPHES = dict.fromkeys(map(ord, "’‘‛ʼʹ′＇`´"), "'")
ABBREVIATION_DOT = re.compile(r"(?<=\b\w)\.")
READ_ALOUD = "&%@#"
DAMAGED = "\ufffd"  # a byte that was no UTF-8: dropped without a word it would make another word of "caf\ufffds"
IDEOGRAPHS = "〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"


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
    spoken = character in "'" + READ_ALOUD + DAMAGED or unicodedata.category(character) in ("Sc", "Sm")
    letter = unicodedata.category(character)[0] in "LMN"
    return character if spoken or letter else " "


def _unquoted(word: str) -> str:
    return word.strip("'") if word[0] == word[-1] == "'" else word


def mandarin(text: str) -> str:
    """Ideographs and lower-case Latin letters with no space between them, full-width letters made plain.

    Punctuation goes, Chinese and Western. What would have to be spelled out first (digits, %, =, other scripts)
    stays, for the caller to find.
    """
    return _only_spoken(_only_spoken(text))


def _only_spoken(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(filter(_is_spoken, text))


def _is_spoken(character: str) -> bool:
    category = unicodedata.category(character)
    return character in READ_ALOUD or category[0] in "LN" or category in ("Mc", "Sc", "Sm", "So")


class Language(NamedTuple):
    """How a language is spelled, and a pattern of the characters that its normalised text may have."""

    normalise: Callable[[str], str]
    alphabet: re.Pattern[str]


LANGUAGES = {
    "english": Language(english, re.compile("[a-z' ]")),
    "mandarin": Language(mandarin, re.compile(f"[a-z{IDEOGRAPHS}]")),
}


def normalise(language: str, text: str) -> str:
    """`text` by the rules of `language`. Raises ConfigError for a language without any."""
    return _rules(language).normalise(text)


def unknown(language: str, text: str) -> set[str]:
    """The characters of a normalised text that are outside the language's alphabet. Raises ConfigError likewise."""
    alphabet = _rules(language).alphabet
    return {character for character in set(text) if not alphabet.fullmatch(character)}


def _rules(language: str) -> Language:
    if language not in LANGUAGES:
        raise ConfigError(f"language {language!r} has no text rules; known: {', '.join(sorted(LANGUAGES))}")
    return LANGUAGES[language]
