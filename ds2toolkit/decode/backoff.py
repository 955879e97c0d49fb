"""A back-off n-gram model in arrays, followed for many histories at once.

Only numpy and the standard library are needed here: k2's worker loads this module, too.
"""

from pathlib import Path

import numpy as np

END = -1  # the word number of the sentence's end, as k2's arcs have it


class BackOffModel:
    """Histories are states; a word that has no arc there is looked for in the history it backs off to, and only then.

    The back-off arcs of a decoding graph may be taken anyway, so that a path may score better there than by the model.
    """

    def __init__(self, path: Path):
        """path: what grammar.write wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            self.start, self.num_words = (int(arrays[name]) for name in ("start", "num_words"))
            self.key, self.target, self.log_prob = (arrays[name] for name in ("key", "target", "log_prob"))
            self.shorter, self.back_off = arrays["shorter"], arrays["back_off"]

    def follow(self, histories: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The histories behind these words, and the natural log-probability of each; -inf where the model has no such
        word. words: numbers from 1, or END."""
        words = np.where(words == END, 0, words)
        found, log_probs, at = np.zeros_like(histories), np.zeros(len(words)), histories.copy()
        left = np.arange(len(words))
        while len(left):
            key = at[left] * (self.num_words + 1) + words[left]
            row = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
            here = self.key[row] == key
            found[left[here]] = self.target[row[here]]
            log_probs[left[here]] += self.log_prob[row[here]]
            left = left[~here]
            log_probs[left] += self.back_off[at[left]]
            at[left] = self.shorter[at[left]]
            left = left[at[left] >= 0]
        return found, log_probs
