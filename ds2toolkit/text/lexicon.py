"""The pronouncing dictionary of a decoding graph: each word's spellings in the network's tokens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ds2toolkit.errors import DataError
from ds2toolkit.files import write_text
from ds2toolkit.text.normalise import normalise
from ds2toolkit.text.vocabulary import Vocabulary

Spelling = tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Words in sorted order, each with one or more spellings: tuples of tokens, never the space."""

    spellings: Mapping[str, tuple[Spelling, ...]]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.spellings)

    @classmethod
    def from_words(
        cls, words: Iterable[str], vocabulary: Vocabulary, language: str
    ) -> tuple["Lexicon", tuple[str, ...]]:
        """Spell each word as the network spells what is said: its normalised form, in characters or word pieces.

        A language model may write words as no transcript does: WSJ's "mr." is spelled m r, ".period" as its name.
        Returns the lexicon and the words left out because no tokens write them, both sorted.
        """
        words = sorted(set(words))
        spoken = {word: normalise(language, word) for word in words}
        spelled = {
            word: (tuple(vocabulary.tokens[number] for number in vocabulary.encode(spoken[word])),)
            for word in words
            if spoken[word] and " " not in spoken[word] and not vocabulary.unknown(spoken[word])
        }
        return cls(spelled), tuple(word for word in words if word not in spelled)

    def write(self, path: Path) -> None:
        """`lexicon.txt`: a line a spelling, the word first."""
        lines = (f"{word} {' '.join(s)}\n" for word, spellings in self.spellings.items() for s in spellings)
        write_text(path, "".join(lines))

    @classmethod
    def read(cls, path: Path) -> "Lexicon":
        """What `write` wrote, or a file of the user's. Raises DataError with the line that is wrong."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError(f"{path} does not exist") from None
        except UnicodeDecodeError:
            raise DataError(f"{path} is not UTF-8 text") from None
        found: dict[str, dict[Spelling, None]] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            word, *spelling = line.split()
            if not spelling:
                raise DataError(f"{path}:{number}: the word {word!r} has no spelling")
            found.setdefault(word, {})[tuple(spelling)] = None
        if not found:
            raise DataError(f"{path} has no words")
        return cls({word: tuple(found[word]) for word in sorted(found)})
