"""An n-gram language model in memory, read and asked by KenLM, which flashlight-text brings along."""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary

from ds2toolkit.errors import DataError
from ds2toolkit.text.arpa import UNK

LN_10 = math.log(10)


class LanguageModel:
    """words[i] is the word of number i; every other word is <unk>, the last number. A state is KenLM's own."""

    def __init__(self, arpa: Path, words: Sequence[str]):
        """Raises DataError when the ARPA file is missing, damaged or cut off."""
        if not arpa.exists():
            raise DataError(f"{arpa} does not exist; `ds2 lm` writes the language model")
        numbered = Dictionary()
        for word in words:
            numbered.add_entry(word)
        numbered.add_entry(UNK)
        self.unknown = len(words)
        try:
            with _quiet():
                self.kenlm = KenLM(str(arpa), numbered)
        except RuntimeError as error:
            reason = str(error).split("threw ")[-1].strip().splitlines()[-1]
            raise DataError(f"{arpa} is not a whole ARPA file ({reason}): fetch or estimate it again") from None

    def start(self) -> Any:
        """The state at the beginning of a sentence."""
        return self.kenlm.start(False)

    def step(self, state: Any, number: int) -> tuple[Any, float]:
        """The state after a word, and its natural log-probability."""
        after, log10 = self.kenlm.score(state, number)
        return after, LN_10 * log10

    def end(self, state: Any) -> float:
        """The natural log-probability that the sentence ends here."""
        return LN_10 * self.kenlm.finish(state)[1]

    def alone(self, number: int) -> float:
        """The natural log-probability of a word whatever came before."""
        return LN_10 * self.kenlm.score(self.kenlm.start(True), number)[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without KenLM's bar, which it writes past Python."""
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
