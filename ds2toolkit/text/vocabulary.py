"""The symbols the network spells with, and their numbers: the blank first, then characters, bigrams or word pieces."""

import base64
import binascii
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import whole, write_text
from ds2toolkit.text.pieces import BLANK, WORD_START, Pieces

SPACE_ON_DISK = "<space>"
MODEL_NAME = "spm.model"
PAIR = re.compile(r" |\S{1,2}")  # never across a space; the last character of a word of odd length stands alone


class UnknownCharacter(UserError):
    """A text has characters that the vocabulary has not."""


@dataclass(frozen=True)
class Vocabulary:
    """tokens[i] is the symbol of output i, tokens[0] the CTC blank; others are characters, pairs of them, or pieces."""

    tokens: tuple[str, ...]
    pieces: Pieces | None = None

    def __post_init__(self) -> None:
        if not self.tokens or self.tokens[0] != BLANK:
            raise ValueError(f"token 0 must be {BLANK}")
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("a token occurs twice")
        if self.pieces:
            if self.tokens != self.pieces.tokens:
                raise ValueError(f"the tokens are not those of the sentencepiece model ({MODEL_NAME})")
        elif wrong := [token for token in self.tokens[1:] if not PAIR.fullmatch(token)]:
            raise ValueError(f"token {wrong[0]!r} is not one character or two, or a space of another kind")

    @staticmethod
    def english_characters() -> "Vocabulary":
        """Blank, space, apostrophe and a–z: the 29 outputs of the English system (DS2, section 3)."""
        return Vocabulary((BLANK, " ", "'", *string.ascii_lowercase))

    @staticmethod
    def characters_of(texts: Iterable[str]) -> "Vocabulary":
        """Every character of normalised texts, the most frequent first, equally frequent ones by code point."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        return Vocabulary((BLANK, *sorted(counts, key=lambda character: (-counts[character], character))))

    @staticmethod
    def english_bigrams(texts: Iterable[str]) -> "Vocabulary":
        """The English characters, and the pairs that words of normalised texts fall into (DS2, section 3.6)."""
        characters = Vocabulary.english_characters().tokens
        counts = Counter(pair for text in texts for pair in PAIR.findall(text) if len(pair) == 2)
        spelled = [pair for pair in counts if set(pair) <= set(characters)]
        return Vocabulary((*characters, *sorted(spelled, key=lambda pair: (-counts[pair], pair))))

    @staticmethod
    def of_pieces(pieces: Pieces) -> "Vocabulary":
        return Vocabulary(pieces.tokens, pieces)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        """What each token adds to a text; of word pieces the first of a word adds a space before it, too."""
        return tuple(token.replace(WORD_START, " ") if self.pieces else token for token in self.tokens)

    @cached_property
    def characters(self) -> frozenset[str]:
        """The characters that can be encoded."""
        return frozenset(spelling for spelling in self.spellings[1:] if len(spelling) == 1)

    def unknown(self, text: str) -> set[str]:
        """The characters of `text` that cannot be encoded."""
        return set(text) - self.characters

    def encode(self, text: str) -> list[int]:
        """Token numbers, never 0 (the blank): characters, pairs of them, or word pieces. Raises UnknownCharacter.

        A word is cut into pairs from its beginning, as in "th e ca t"; a pair that is no token is two characters.
        """
        if unknown := self.unknown(text):
            names = " ".join(map(repr, sorted(unknown)))
            raise UnknownCharacter(f"characters outside the vocabulary: {names}, in {text!r}")
        if self.pieces:
            return self.pieces.encode(text)
        units = ((pair,) if pair in self._ids else pair for pair in PAIR.findall(text))
        return [self._ids[token] for unit in units for token in unit]

    def encode_known(self, text: str) -> list[int]:
        """Token numbers of a text whose unknown characters are left out, and words that had no others with them."""
        known = "".join(character for character in text if character in self.characters)
        return self.encode(" ".join(known.split()))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of numbers from which blanks and repeats are gone already. Raises ValueError for another number."""
        ids = [int(number) for number in ids]
        if wrong := [number for number in ids if not 0 < number < len(self.tokens)]:
            raise ValueError(f"{wrong[0]} is the blank or no token of {len(self.tokens)}")
        text = "".join(self.spellings[number] for number in ids)
        return text.removeprefix(" ") if self.pieces else text

    def write(self, path: Path) -> None:
        """`tokens.txt`: lines of symbol and number, the space written as <space>; spm.model beside it, for pieces."""
        model = path.with_name(MODEL_NAME)
        if self.pieces:
            with whole(model) as part:
                part.write_bytes(self.pieces.model)
        else:
            model.unlink(missing_ok=True)
        names = (SPACE_ON_DISK if token == " " else token for token in self.tokens)
        write_text(path, "".join(f"{name} {number}\n" for number, name in enumerate(names)))

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """A vocabulary from `tokens.txt` and, where it is beside it, spm.model. Raises DataError with file and line."""
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            raise DataError(f"{path} does not exist; `ds2 lang` writes it") from None
        except UnicodeDecodeError:
            raise DataError(f"{path} is not UTF-8 text") from None
        tokens = [_token(row, number, path) for number, row in enumerate(filter(None, lines))]
        model = path.with_name(MODEL_NAME)
        return cls._checked(tokens, model.read_bytes() if model.exists() else None, str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint, the sentencepiece model as text, for `from_dict`."""
        model = self.pieces and base64.b64encode(self.pieces.model).decode("ascii")
        return {"tokens": list(self.tokens), "pieces": model}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str) -> "Vocabulary":
        """What `to_dict` gave, or a checkpoint without pieces. Raises DataError naming `where` it was found."""
        try:
            model = base64.b64decode(raw["pieces"]) if raw.get("pieces") else None
        except (binascii.Error, TypeError):
            raise DataError(f"{where}: the sentencepiece model is damaged") from None
        return cls._checked(raw["tokens"], model, where)

    @classmethod
    def _checked(cls, tokens: Iterable[str], model: bytes | None, where: str) -> "Vocabulary":
        try:
            return cls(tuple(tokens), None if model is None else Pieces(model))
        except (ValueError, TypeError, DataError) as error:
            raise DataError(f"{where}: not a vocabulary: {error}; `ds2 lang` writes it again") from None


def _token(row: str, number: int, path: Path) -> str:
    """The symbol of one line of `tokens.txt`, which must carry the line's own number."""
    token, _, written = row.rpartition(" ")
    if not token or written != str(number):
        raise DataError(f"{path}:{number + 1}: expected a symbol and the number {number}, found {row!r}")
    return " " if token == SPACE_ON_DISK else token
