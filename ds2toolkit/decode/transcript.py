"""The transcript of a long recording: its words as the network spells them, and where some had to be left out."""

from dataclasses import dataclass
from pathlib import Path

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.errors import DataError
from ds2toolkit.text.normalise import normalise
from ds2toolkit.units import split_units


@dataclass(frozen=True)
class Transcript:
    """words: those that can be spelled; left_out: the others, each with the number of the word that follows it."""

    words: list[str]
    left_out: list[tuple[int, str]]

    def doubtful(self, first: int, behind: int) -> list[str]:
        """Words left out within the words [first, behind) or at their ends."""
        return [word for number, word in self.left_out if first <= number <= behind]


def read(path: Path, recogniser: Recogniser) -> Transcript:
    """Raises DataError for a file that can't be read or has no word that the network can spell."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError(f"{path} cannot be read: {reason}") from None
    words, left_out = [], []
    for word in split_units(normalise(recogniser.language, text), recogniser.unit):
        if recogniser.vocabulary.unknown(word):
            left_out.append((len(words), word))
        else:
            words.append(word)
    if not words:
        reason = f"none of its words can be spelled, such as {left_out[0][1]!r}" if left_out else "it has no words"
        raise DataError(f"{path} is no transcript to align: {reason}")
    return Transcript(words, left_out)
