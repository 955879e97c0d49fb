"""The symbols the network spells with, and their numbers: the blank first, then characters."""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import write_text

BLANK = "<blk>"
SPACE_ON_DISK = "<space>"


class UnknownCharacter(UserError):
    """A text has characters that the vocabulary has not."""


@dataclass(frozen=True)
class Vocabulary:
    """tokens[i] is the symbol of output i; tokens[0] is the CTC blank, all others are single characters."""

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.tokens or self.tokens[0] != BLANK:
            raise ValueError(f"token 0 must be {BLANK}")
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("a token occurs twice")
        if wrong := [token for token in self.tokens[1:] if token != " " and (len(token) != 1 or token.isspace())]:
            raise ValueError(f"token {wrong[0]!r} is not one character, or a space of another kind")

    @staticmethod
    def english_characters() -> "Vocabulary":
        """Blank, space, apostrophe and a–z: the 29 outputs of the English system (DS2, section 3)."""
        return Vocabulary((BLANK, " ", "'", *string.ascii_lowercase))

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def unknown(self, text: str) -> set[str]:
        """The characters of `text` that cannot be encoded."""
        return set(text) - set(self.tokens)

    def encode(self, text: str) -> list[int]:
        """One number a character, never 0 (the blank). Raises UnknownCharacter."""
        if unknown := self.unknown(text):
            names = " ".join(map(repr, sorted(unknown)))
            raise UnknownCharacter(f"characters outside the vocabulary: {names}, in {text!r}")
        return [self._ids[character] for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of numbers from which blanks and repeats are gone already. Raises ValueError for another number."""
        ids = [int(number) for number in ids]
        if wrong := [number for number in ids if not 0 < number < len(self.tokens)]:
            raise ValueError(f"{wrong[0]} is the blank or no token of {len(self.tokens)}")
        return "".join(self.tokens[number] for number in ids)

    def write(self, path: Path) -> None:
        """`tokens.txt`: lines of symbol and number, the space written as <space>."""
        names = (SPACE_ON_DISK if token == " " else token for token in self.tokens)
        write_text(path, "".join(f"{name} {number}\n" for number, name in enumerate(names)))

    def to_list(self) -> list[str]:
        """Plain values for a checkpoint; `Vocabulary(tuple(plain))` comes back."""
        return list(self.tokens)

    @classmethod
    def from_list(cls, tokens: Sequence[str], where: str) -> "Vocabulary":
        """What `to_list` gave. Raises DataError naming `where` it was found."""
        try:
            return cls(tuple(tokens))
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}: not a vocabulary: {error}") from None

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """A vocabulary from `tokens.txt`. Raises DataError with file and line."""
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            raise DataError(f"{path} does not exist; `ds2 lang` writes it") from None
        except UnicodeDecodeError:
            raise DataError(f"{path} is not UTF-8 text") from None
        rows = [line for line in lines if line]
        return cls.from_list([_token(row, number, path) for number, row in enumerate(rows)], str(path))


def _token(row: str, number: int, path: Path) -> str:
    """The symbol of one line of `tokens.txt`, which must carry the line's own number."""
    token, _, written = row.rpartition(" ")
    if not token or written != str(number):
        raise DataError(f"{path}:{number + 1}: expected a symbol and the number {number}, found {row!r}")
    return " " if token == SPACE_ON_DISK else token
