"""What a language model says of every character after the same last few, which it is asked for once."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ds2toolkit.decode.spelled import AnyWords, Spelled
from ds2toolkit.text.arpa import arpa_lines

MAX_BYTES = 1 << 28


class Contexts:
    """Log-probabilities of what each token adds, for outputs that are single characters, each a word of the model.

    An n-gram model of order N says the same after the same N - 1 words.
    """

    def __init__(self, speller: AnyWords, arpa: Path):
        self.speller = speller
        self.num_words = arpa_order(arpa) - 1
        self.rows: dict[tuple[str, ...], np.ndarray] = {}
        self.num_tokens = len(speller.known.token_ids)

    def row(self, spelled: Spelled) -> np.ndarray:
        """(V,): natural log-probabilities, -inf of what can't come, NaN of what was not asked yet (see `fill`)."""
        context, pairs = [], spelled.words
        while pairs and len(context) < self.num_words:
            pairs, word = pairs
            context.append(word)
        if (row := self.rows.get(tuple(context))) is None:
            if len(self.rows) * self.num_tokens * 8 > MAX_BYTES:
                self.rows.clear()
            row = self.rows[tuple(context)] = np.full(self.num_tokens, np.nan)
        return row

    def fill(self, rows: Sequence[np.ndarray], spelled: Sequence[Spelled], tokens_K: np.ndarray) -> np.ndarray:
        """(B, K): what the rows say of some tokens, those that they did not know asked for and kept."""
        rows_BK = np.stack([row[tokens_K] for row in rows])
        for b, k in np.argwhere(np.isnan(rows_BK)).tolist():
            row, token = rows[b], int(tokens_K[k])
            if np.isnan(row[token]):
                longer = self.speller.extended(spelled[b], token)
                row[token] = longer.log_prob - spelled[b].log_prob if longer else -np.inf
            rows_BK[b, k] = row[token]
        return rows_BK


def arpa_order(path: Path) -> int:
    r"""The length of the longest n-grams that the \data\ of an ARPA file counts."""
    head = itertools.takewhile(lambda line: line != "\\1-grams:", arpa_lines(path))
    return max(int(line.split()[1].partition("=")[0]) for line in head if line.startswith("ngram "))
