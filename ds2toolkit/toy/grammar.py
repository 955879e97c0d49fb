"""Sentences of a small English grammar of our own, and the letters, numbers and commands of a census desk."""

from collections.abc import Callable, Iterator

import numpy as np

WORDS = {
    "ADJECTIVE": "old young small happy quiet brown green tall",
    "PERSON": "boy girl king doctor teacher sailor",
    "ANIMAL": "dog cat horse bird",
    "OBJECT": "box letter lamp bread basket hammer window",
    "PLACE": "garden river school kitchen market forest",
    "DID": "found carried followed painted wanted lost",
    "DO": "open find bring carry paint",
    "BY": "in near under behind",
    "WHEN": "today again now slowly tomorrow",
    "WHOSE": "my his her our",
    "OWNER'S": "boy's king's dog's",
    "WHO'S": "she's he's they're",
    "MOVING": "going walking",
}
PATTERNS = (
    "the ADJECTIVE PERSON DID the OBJECT",
    "the ADJECTIVE ANIMAL followed WHOSE PERSON WHEN",
    "WHOSE PERSON DID WHOSE ADJECTIVE OBJECT WHEN",
    "it's BY the ADJECTIVE PLACE",
    "it's BY WHOSE OBJECT WHEN",
    "WHO'S MOVING to the PLACE WHEN",
    "please DO the ADJECTIVE OBJECT WHEN",
    "don't DO WHOSE OBJECT WHEN",
    "where is the ADJECTIVE PERSON WHEN",
    "that's the OWNER'S ADJECTIVE OBJECT",
    "the OBJECT isn't BY the PLACE",
    "the ADJECTIVE ANIMAL is BY WHOSE PLACE",
    "WHO'S MOVING with WHOSE ADJECTIVE ANIMAL",
)
LETTERS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"
DIGITS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE"
TENS = "TWENTY THIRTY FORTY FIFTY SIXTY SEVENTY EIGHTY NINETY"
COMMANDS = "YES NO GO STOP START HELP REPEAT"
EDITS = "ENTER ERASE RUBOUT"
RESPELLED = {"A": "eigh", "RUBOUT": "rub out"}  # a lone "a" would be read as the article


def sentence(rng: np.random.Generator) -> str:
    """One sentence of 4 to 7 lower-case words, every pattern equally likely."""
    slots = PATTERNS[rng.integers(len(PATTERNS))].split()
    return " ".join(str(rng.choice(WORDS[slot].split())) if slot in WORDS else slot for slot in slots)


def census_line(rng: np.random.Generator) -> str:
    """A line as at a census desk, in upper case: a command, a spelled name, a number, an edit of a code."""
    kind = rng.integers(4)
    if kind == 0:
        return _some(COMMANDS, 1, rng)
    if kind == 1:
        return _some(LETTERS, rng.integers(3, 9), rng)
    if kind == 2:
        return _some(DIGITS, rng.integers(2, 6), rng)
    parts = ((EDITS, 1), (LETTERS, rng.integers(1, 5)), (TENS + " " + DIGITS, 2))
    return " ".join(_some(words, count, rng) for words, count in parts)


def _some(words: str, count: int, rng: np.random.Generator) -> str:
    return " ".join(rng.choice(words.split(), size=count))


def spoken(line: str) -> str:
    """A census line as espeak-ng has to be given it, so that letters are named and words keep their sound."""
    return " ".join(RESPELLED.get(word, word.lower()) for word in line.split())


def distinct(generate: Callable[[np.random.Generator], str], rng: np.random.Generator) -> Iterator[str]:
    """Lines of `generate`, each text once. Ends when the last 10,000 draws brought nothing new."""
    seen: set[str] = set()
    repeats = 0
    while repeats < 10_000:
        text = generate(rng)
        repeats = 0 if text not in seen else repeats + 1
        if not repeats:
            seen.add(text)
            yield text


def vocabulary() -> set[str]:
    """Every word that `sentence` can say."""
    fixed = {word for pattern in PATTERNS for word in pattern.split() if word not in WORDS}
    return fixed.union(*(words.split() for words in WORDS.values()))
