"""Word n-gram language models: interpolated modified Kneser-Ney, ARPA files, perplexity."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ds2toolkit.errors import UserError
from ds2toolkit.files import whole
from ds2toolkit.text.arpa import BOS, EOS, UNK, Ngram, arpa_entries

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
LOG10_ZERO = -99.0


@dataclass(frozen=True)
class NgramModel:
    """tables[n-1]: n-gram to (log10 probability of its last word, log10 back-off weight as a context)."""

    tables: tuple[dict[Ngram, tuple[float, float]], ...]

    @property
    def order(self) -> int:
        return len(self.tables)

    @property
    def words(self) -> set[str]:
        """Everything that can be predicted: the words, </s> and, where the model has it, <unk>."""
        return {word for (word,) in self.tables[0]} - {BOS}

    def log10_prob(self, word: str, context: Sequence[str]) -> float:
        """log10 P(word | context), backing off; only the last order-1 words of the context count."""
        context = tuple(context[-(self.order - 1) :]) if self.order > 1 else ()
        back_off = 0.0
        while (entry := self.tables[len(context)].get((*context, word))) is None:
            if not context:
                raise KeyError(word)
            back_off += self.tables[len(context) - 1].get(context, (0.0, 0.0))[1]
            context = context[1:]
        return back_off + entry[0]


@dataclass(frozen=True)
class Perplexity:
    """Per predicted token: sentence ends included, unknown words left out. oov_rate is of words."""

    value: float
    oov_rate: float
    num_words: int
    num_sentences: int


def estimate(sentences: Iterable[Sequence[str]], order: int, prune: Sequence[int] = ()) -> NgramModel:
    """Interpolated modified Kneser-Ney (Chen and Goodman, 1999, section 4.1.6), as KenLM's lmplz does it.

    Lower orders count the distinct words before an n-gram (sentence starts keep their plain counts); unigrams
    are interpolated with a uniform share, which is all that <unk> has. Where a text is too small for the
    discounts of an order (a count of counts is zero), that order takes FALLBACK_DISCOUNTS. Sentences without
    words are skipped, and the order shrinks to the longest sentence.

    prune: for each order from 1 on, n-grams that occur at most so often are left out and what they had goes to the
    lower order, as with lmplz's --prune; the last number serves for higher orders, and words are never left out.
    Raises UserError when no word is left, ValueError when the numbers of prune fall.
    """
    if order < 1 or list(prune) != sorted(prune):
        raise ValueError(f"order {order}, prune {prune}: expected an order of 1 or more, and numbers that do not fall")
    sentences = list(sentences) if any(prune) else sentences
    counts = _adjusted_counts(sentences, order)
    rare = _rare(sentences, len(counts), prune) if any(prune) else [set()] * len(counts)
    probabilities: list[dict[Ngram, float]] = []
    leftovers: list[dict[Ngram, float]] = []
    for table, rare_ones in zip(counts, rare, strict=True):
        lower = probabilities[-1] if probabilities else {(): 1.0 / (len(table) + 1)}
        found, leftover = _interpolate(table, lower, rare_ones)
        probabilities.append(found)
        leftovers.append(leftover)
    uniform = leftovers[0][()] / (len(counts[0]) + 1)
    probabilities[0] |= {(UNK,): uniform, (BOS,): 10**LOG10_ZERO}
    return NgramModel(tuple(_logs(p, b) for p, b in zip(probabilities, [*leftovers[1:], {}], strict=True)))


def _adjusted_counts(sentences: Iterable[Sequence[str]], order: int) -> list[Counter]:
    """Per order: plain counts at the top and after <s>, distinct left neighbours elsewhere."""
    known: dict[str, str] = {}
    top: Counter = Counter()
    starts: list[Counter] = [Counter() for _ in range(order)]
    for sentence in sentences:
        if not sentence:
            continue
        padded = (BOS, *(known.setdefault(word, word) for word in sentence), EOS)
        top.update(zip(*(padded[first:] for first in range(order)), strict=False))
        for length in range(2, min(order, len(padded) + 1)):
            starts[length - 1][padded[:length]] += 1
    _check_words(known)
    counts = [top]
    for length in range(order - 1, 0, -1):
        counts.append(Counter(ngram[1:] for ngram in counts[-1]) + starts[length - 1])
    counts[-1].pop((BOS,), None)
    return [table for table in reversed(counts) if table]


def _rare(sentences: Iterable[Sequence[str]], order: int, prune: Sequence[int]) -> list[set[Ngram]]:
    """Per order, the n-grams to leave out: by plain counts, so that what is kept has its contexts, too."""
    rare: list[set[Ngram]] = [set()]
    for length in range(2, order + 1):
        padded = ((BOS, *sentence, EOS) for sentence in sentences if sentence)
        seen = Counter(ngram for words in padded for ngram in zip(*(words[n:] for n in range(length)), strict=False))
        most = prune[min(length, len(prune)) - 1]
        rare.append({ngram for ngram, count in seen.items() if count <= most})
    return rare


def _check_words(words: Iterable[str]) -> None:
    words = set(words)
    if not words:
        raise UserError(
            "the language model's text has no words: give it the transcripts of the training split"
        )
    for word in words:
        if word in (BOS, EOS, UNK) or word.split() != [word]:
            raise UserError(
                f"the language model's text has the word {word!r}, which an ARPA file cannot hold"
            )


def _discounts(table: Counter) -> tuple[float, float, float]:
    """D1, D2 and D3+ (Chen and Goodman, 1999, equation 26), or FALLBACK_DISCOUNTS where undefined."""
    counts_of_counts = Counter(table.values())
    n1, n2, n3, n4 = (counts_of_counts[count] for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return discounts if all(0 < d <= count for count, d in enumerate(discounts, 1)) else FALLBACK_DISCOUNTS


def _interpolate(
    table: Counter, lower: dict[Ngram, float], rare: set[Ngram]
) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """The probability of every n-gram but the rare, and for every context the share left to the lower order."""
    discounts = (0.0, *_discounts(table))
    totals: dict[Ngram, int] = {}
    left: dict[Ngram, float] = {}
    for ngram, count in table.items():
        context = ngram[:-1]
        totals[context] = totals.get(context, 0) + count
        left[context] = left.get(context, 0.0) + (count if ngram in rare else discounts[min(count, 3)])
    leftover = {context: left[context] / total for context, total in totals.items()}
    probabilities = {
        ngram: (count - discounts[min(count, 3)]) / totals[ngram[:-1]]
        + leftover[ngram[:-1]] * lower[ngram[1:]]
        for ngram, count in table.items()
        if ngram not in rare
    }
    return probabilities, leftover


def _logs(
    probabilities: dict[Ngram, float], leftover: dict[Ngram, float]
) -> dict[Ngram, tuple[float, float]]:
    return {
        ngram: (math.log10(probability), math.log10(leftover[ngram]) if ngram in leftover else 0.0)
        for ngram, probability in probabilities.items()
    }


def write_arpa(model: NgramModel, path: Path) -> None:
    """Write an ARPA file, sorted, whole or not at all; the same model gives the same bytes."""
    with whole(path) as part, part.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {n}={len(table)}\n" for n, table in enumerate(model.tables, 1))
        for n, table in enumerate(model.tables, 1):
            file.write(f"\n\\{n}-grams:\n")
            file.writelines(_arpa_line(ngram, *table[ngram]) for ngram in sorted(table))
        file.write("\n\\end\\\n")


def _arpa_line(ngram: Ngram, log_prob: float, back_off: float) -> str:
    return f"{log_prob:.7g}\t{' '.join(ngram)}" + (f"\t{back_off:.7g}\n" if back_off else "\n")


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file (.gz too). Raises DataError, with the line, when it is cut off or damaged."""
    tables: list[dict[Ngram, tuple[float, float]]] = []
    for ngram, log_prob, back_off in arpa_entries(path):
        if len(ngram) > len(tables):
            tables.append({})
        tables[len(ngram) - 1][ngram] = (log_prob, back_off)
    return NgramModel(tuple(tables))


def perplexity(model: NgramModel, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """The perplexity of sentences, and the share of their words that the model does not know.

    Raises UserError when there is no sentence.
    """
    known = model.words
    total, num_scored, num_words, num_oov, num_sentences = 0.0, 0, 0, 0, 0
    for sentence in sentences:
        context = [BOS]
        for word in (*sentence, EOS):
            if word in known:
                total += model.log10_prob(word, context)
                num_scored += 1
            context.append(word if word in known else UNK)
        num_words += len(sentence)
        num_oov += sum(word not in known for word in sentence)
        num_sentences += 1
    if not num_scored:
        raise UserError("perplexity needs at least one sentence")
    return Perplexity(10 ** (-total / num_scored), num_oov / max(num_words, 1), num_words, num_sentences)
