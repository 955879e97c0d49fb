"""What tokens spell: words of a lexicon or any words, weighed by a language model as soon as each is complete."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.kenlm import LanguageModel
from ds2toolkit.decode.search import Material
from ds2toolkit.decode.tuned import digest_of_file
from ds2toolkit.errors import DataError
from ds2toolkit.text.arpa import BOS, EOS, UNK, arpa_entries
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.pieces import WORD_START


class Known:
    """A graph's words with the spellings and the language model that it was compiled from, all checked.

    words[i] is the language model's word i: first the graph's, then, where all are wanted, those without a spelling.
    """

    def __init__(self, material: Material, all_words: bool = False):
        """Raises DataError where graph, language model and lexicon don't belong together or one is damaged."""
        self.graph = Graph.load(material.graph)
        self.graph.check_tokens(material.vocabulary.tokens)
        _check_arpa(material, self.graph)
        self.words = list(self.graph.words[1:])
        self.lexicon = Lexicon.read(material.lexicon)
        if missing := [word for word in self.words if word not in self.lexicon.spellings]:
            raise DataError(f"{material.lexicon} has no {missing[0]!r}, a word of {material.graph}; `ds2 graph` writes both")
        if all_words:
            self.words += sorted(_words_of(material.arpa) - set(self.words))
        self.language_model = LanguageModel(material.arpa, self.words)
        self.token_ids = {token: number for number, token in enumerate(material.vocabulary.tokens)}

    def spellings(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """(number of a word of the graph, one of its spellings in token numbers), the likelier words first."""
        for number in sorted(range(len(self.graph.words) - 1), key=self.language_model.alone, reverse=True):
            for spelling in self.lexicon.spellings[self.words[number]]:
                yield number, tuple(self.token_ids[token] for token in spelling)


def _check_arpa(material: Material, graph: Graph) -> None:
    if not material.arpa.exists():
        raise DataError(
            f"{material.arpa} does not exist: a beam search wants the language model beside the graph; `ds2 lm` writes it"
        )
    if digest_of_file(material.arpa) != graph.meta["arpa_sha256"]:
        raise DataError(
            f"{material.arpa} is not the language model that {material.graph} was compiled from (estimated since, or cut"
            " off): write it again with `ds2 lm`, then the graph with `ds2 graph`"
        )


def _words_of(arpa: Path) -> set[str]:
    """The words of an ARPA file, of which no more than its first section is read."""
    unigrams = itertools.takewhile(lambda entry: len(entry[0]) == 1, arpa_entries(arpa))
    return {ngram[0] for ngram, _, _ in unigrams} - {BOS, EOS, UNK}


class Spelled(NamedTuple):
    """A beginning of an utterance: its words (newest first, in pairs), the language model's state and ln probability.

    part: what there is of a word that may go on: its text, or its node in the lexicon.
    """

    words: Any
    state: Any
    part: Any
    log_prob: float
    num_words: int


def word_list(spelled: Spelled) -> tuple[str, ...]:
    words, pairs = [], spelled.words
    while pairs:
        pairs, word = pairs
        words.append(word)
    return tuple(reversed(words))


class AnyWords:
    """Whatever the tokens spell, words between spaces or single characters."""

    NO_PART: Any = ""

    def __init__(self, material: Material):
        self.known = Known(material, all_words=True)
        self.model = self.known.language_model
        self.texts = material.vocabulary.spellings
        self.by_character = material.unit == "character"
        self.most_words = max(map(len, self.texts[1:])) if self.by_character else 1  # that a token can complete
        self.numbers: dict[str, list[int]] = {}
        for number, spelling in self.known.spellings():
            self.numbers.setdefault("".join(self.texts[token] for token in spelling).strip(), []).append(number)
        for number in range(len(self.known.graph.words) - 1, len(self.known.words)):
            self.numbers.setdefault(self.known.words[number], []).append(number)

    def start(self) -> Spelled:
        """Of an utterance; what was kept of the one before is forgotten."""
        self.kept: dict[int, tuple[Spelled, Spelled | None]] = {}
        return Spelled(None, self.model.start(), self.NO_PART, 0.0, 0)

    def extended(self, spelled: Spelled, token: int) -> Spelled | None:
        """With one token more; None where no word goes on so."""
        for character in self.texts[token]:
            if character == " ":
                spelled = self.closed(spelled)
            else:
                spelled = spelled._replace(part=spelled.part + character)
                spelled = self.completed(spelled) if self.by_character else spelled
        return spelled

    def closed(self, spelled: Spelled) -> Spelled | None:
        """With the word complete that was begun, if one was; None where it is no word.

        Kept, because every token that begins a word asks for it.
        """
        if spelled.part == self.NO_PART:
            return spelled
        if id(spelled) not in self.kept:
            self.kept[id(spelled)] = spelled, self.completed(spelled)  # held, so that no other can get its id
        return self.kept[id(spelled)][1]

    def completed(self, spelled: Spelled) -> Spelled | None:
        return self.with_word(spelled, self.numbers.get(spelled.part, (self.model.unknown,)), spelled.part)

    def with_word(self, spelled: Spelled, numbers: Sequence[int], text: str) -> Spelled:
        """With the word that the language model finds likeliest here; text: of one that it has not."""
        steps = [(*self.model.step(spelled.state, number), number) for number in numbers]
        state, log_prob, number = max(steps, key=lambda step: step[1]) if len(steps) > 1 else steps[0]
        word = self.known.words[number] if number != self.model.unknown else text
        return Spelled((spelled.words, word), state, self.NO_PART, spelled.log_prob + log_prob, spelled.num_words + 1)

    def ended(self, spelled: Spelled) -> Spelled | None:
        """With the end of the sentence; None within what is no word."""
        whole = self.closed(spelled)
        return whole and whole._replace(log_prob=whole.log_prob + self.model.end(whole.state))


class Node(NamedTuple):
    """A place in the lexicon: where tokens lead from it, and the words that end at it."""

    onward: dict[int, "Node"]
    numbers: list[int]


class LexiconWords(AnyWords):
    """Words of the lexicon, spelled as it says, where a token tells by itself that a word begins."""

    NO_PART = None

    def __init__(self, material: Material):
        self.known = Known(material)
        self.model = self.known.language_model
        self.by_character = material.unit == "character"
        self.most_words = 1
        starts = (self.by_character or token.startswith(WORD_START) for token in material.vocabulary.tokens)
        self.begins = tuple(starts)
        self.root = Node({}, [])
        for number, spelling in self.known.spellings():
            node = self.root
            for token in spelling:
                node = node.onward.setdefault(token, Node({}, []))
            node.numbers.append(number)

    def extended(self, spelled: Spelled, token: int) -> Spelled | None:
        before: Spelled | None = self.closed(spelled) if self.begins[token] else spelled
        node = before and (before.part or self.root).onward.get(token)
        if not node:
            return None
        return self.with_word(before, node.numbers, "") if self.by_character else before._replace(part=node)

    def completed(self, spelled: Spelled) -> Spelled | None:
        return self.with_word(spelled, spelled.part.numbers, "") if spelled.part.numbers else None
