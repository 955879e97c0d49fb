"""Beam searches: exhaustive search on small problems, DS2's pruning, real decoders' inputs gone wrong."""

import itertools
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.beam import LexiconSearch, likely_tokens
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.prefix import PrefixSearch
from ds2toolkit.decode.search import Material
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text import ngram, pieces
from ds2toolkit.text.arpa import BOS, EOS, UNK
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.pieces import BLANK
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.units import join_units, split_units

LETTERS = Vocabulary((BLANK, " ", "a", "b"))
IDEOGRAPHS = Vocabulary((BLANK, "你", "好", "吗"))
LINES = ["ab ab", "ab a b", "ba ab", "a ba a", "ab", "b a ab"]
CHARACTER_LINES = ["你好", "你好吗", "好吗好", "你你好"]
EVERYTHING = {"search_beam": 1000.0, "beam_size": 100000, "token_mass": 1.0, "max_tokens": 100}
WEIGHTS = [(0.0, 0.0), (1.0, 0.0), (0.7, 1.3), (2.5, -2.0)]


class Problem:
    """A language model and a graph of a few lines, and brute force over every alignment."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, lines: list[str], unit: str, more_words: tuple[str, ...] = ()):
        self.vocabulary, self.unit = vocabulary, unit
        self.sums: dict[bytes, dict[tuple[int, ...], float]] = {}
        self.language = "english" if unit == "word" else "mandarin"
        sentences = [split_units(line, unit) for line in lines]
        self.model = ngram.estimate(sentences, 2)
        ngram.write_arpa(self.model, folder / "G.arpa")
        words = {word for sentence in sentences for word in sentence} | set(more_words)
        self.lexicon, _ = Lexicon.from_words(words, vocabulary, self.language)
        self.lexicon.write(folder / "lexicon.txt")
        compile_graph(vocabulary.tokens, self.lexicon, folder / "G.arpa", folder / "graph")
        self.material = Material(folder / "graph", vocabulary, self.language, unit)

    def log_p_lm(self, words: list[str]) -> float:
        known = [word if (word,) in self.model.tables[0] else UNK for word in words]
        context, total = [BOS], 0.0
        for word in [*known, EOS]:
            total += self.model.log10_prob(word, context)
            context.append(word)
        return total * math.log(10)

    def p_ctc(self, log_probs_SV: np.ndarray) -> dict[tuple[int, ...], float]:
        """The probability of every row of tokens: the sum over its alignments."""
        if (probs := self.sums.get(log_probs_SV.tobytes())) is not None:
            return probs
        self.sums[log_probs_SV.tobytes()] = probs = defaultdict(float)
        for path in itertools.product(range(log_probs_SV.shape[1]), repeat=len(log_probs_SV)):
            tokens = tuple(token for token, _ in itertools.groupby(path) if token)
            probs[tokens] += math.exp(sum(log_probs_SV[frame, token] for frame, token in enumerate(path)))
        return probs

    def best(self, log_probs_SV: np.ndarray, alpha: float, beta: float, lexicon: bool) -> tuple[tuple[str, ...], float]:
        """What maximises Q(y), and that Q."""
        probs: dict[tuple[str, ...], float] = defaultdict(float)
        for tokens, prob in self.p_ctc(log_probs_SV).items():
            words = tuple(split_units(self.vocabulary.decode(tokens), self.unit))
            if lexicon and not self.spelled_as_in_lexicon(tokens, words):
                continue
            probs[words] += prob
        probs = {words: prob for words, prob in probs.items() if prob}
        scores = {
            words: math.log(prob) + alpha * self.log_p_lm(list(words)) + beta * len(words) for words, prob in probs.items()
        }
        best = max(scores, key=scores.__getitem__)
        return best, scores[best]

    def spelled_as_in_lexicon(self, tokens: tuple[int, ...], words: tuple[str, ...]) -> bool:
        if not self.lexicon.spellings.keys() >= set(words):
            return False
        spelled = [self.vocabulary.tokens[token] for token in tokens if self.vocabulary.tokens[token] != " "]
        return spelled == [token for word in words for token in self.lexicon.spellings[word][0]]


def random_log_probs(seed: int, num_frames: int, num_tokens: int, sharpness: float = 1.5) -> np.ndarray:
    logits = sharpness * np.random.default_rng(seed).normal(size=(num_frames, num_tokens))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Problem:
    return Problem(tmp_path_factory.mktemp("words"), LETTERS, LINES, "word")


@pytest.fixture(scope="module")
def characters(tmp_path_factory) -> Problem:
    return Problem(tmp_path_factory.mktemp("characters"), IDEOGRAPHS, CHARACTER_LINES, "character")


@pytest.fixture(scope="module")
def word_pieces(tmp_path_factory) -> Problem:
    vocabulary = Vocabulary.of_pieces(pieces.train(LINES, "bpe", 7))
    assert any(len(token) > 2 for token in vocabulary.tokens)
    return Problem(tmp_path_factory.mktemp("pieces"), vocabulary, LINES, "word")


def check(problem: Problem, method: str, lexicon: bool, alpha: float, beta: float, num_frames: int) -> set[tuple[str, ...]]:
    settings = SearchConfig(alpha=alpha, beta=beta, **EVERYTHING)
    log_probs = [random_log_probs(seed, num_frames, len(problem.vocabulary)) for seed in range(6)]
    with METHODS[method].open(problem.material) as search:
        found = search.decode(log_probs, settings)
    for one, log_probs_SV in zip(found, log_probs, strict=True):
        words, score = problem.best(log_probs_SV, alpha, beta, lexicon)
        assert one.reached_final and one.words == words
        assert one.score == pytest.approx(score, abs=1e-4)
    return {one.words for one in found}


@pytest.mark.parametrize(("alpha", "beta"), WEIGHTS)
@pytest.mark.parametrize(("method", "lexicon"), [("beam", True), ("beam-free", False)])
def test_words_are_those_of_exhaustive_search(words, method, lexicon, alpha, beta):
    check(words, method, lexicon, alpha, beta, num_frames=6)


@pytest.mark.parametrize(("alpha", "beta"), WEIGHTS)
@pytest.mark.parametrize(("method", "lexicon"), [("beam", True), ("beam-free", False)])
def test_characters_are_those_of_exhaustive_search(characters, method, lexicon, alpha, beta):
    check(characters, method, lexicon, alpha, beta, num_frames=6)


@pytest.mark.parametrize(("alpha", "beta"), WEIGHTS)
@pytest.mark.parametrize(("method", "lexicon"), [("beam", True), ("beam-free", False)])
def test_word_pieces_are_those_of_exhaustive_search(word_pieces, method, lexicon, alpha, beta):
    check(word_pieces, method, lexicon, alpha, beta, num_frames=4)


def test_the_word_count_is_of_words_and_of_characters(words, characters):
    """A bonus that outweighs all else finds as many words as there is room for."""
    for problem, num in ((words, 3), (characters, 5)):
        longest = check(problem, "beam", True, 1.0, 40.0, num_frames=5)
        assert {len(one) for one in longest} == {num}
        assert check(problem, "beam", True, 1.0, -40.0, num_frames=5) == {()}


def test_only_the_free_search_finds_words_outside_the_lexicon(words):
    log_probs = [said(LETTERS, "bb ab")]
    found = {}
    for method in ("beam", "beam-free"):
        with METHODS[method].open(words.material) as search:
            (found[method],) = search.decode(log_probs, SearchConfig(alpha=0.5, beta=1.0))
    assert found["beam-free"].words == ("bb", "ab")
    assert found["beam"].words and set(found["beam"].words) <= set(words.lexicon.words)


def said(vocabulary: Vocabulary, text: str, sure: float = 9.0) -> np.ndarray:
    """Two frames a token, a blank after each."""
    ids = [frame for number in vocabulary.encode(text) for frame in (number, number, 0)]
    logits = np.random.default_rng(0).normal(size=(len(ids), len(vocabulary)))
    logits[range(len(ids)), ids] += sure
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def test_homophones_are_told_apart_by_the_language_model(tmp_path):
    """`a.` is spelled as `a` is; after `b` the text has the one, elsewhere the other."""
    lines = ["a a a", "a a", "b a.", "b a.", "b a. b a.", "a a"]
    problem = Problem(tmp_path, LETTERS, lines, "word")
    assert problem.lexicon.spellings["a."] == (("a",),)
    for method in ("beam", "beam-free"):
        with METHODS[method].open(problem.material) as search:
            found = search.decode([said(LETTERS, "b a"), said(LETTERS, "a a")], SearchConfig(alpha=1.0, beta=0.0))
        assert [one.words for one in found] == [("b", "a."), ("a", "a")], method


def test_a_frame_keeps_the_fewest_tokens_that_reach_the_mass():
    probs_SV = np.array([[0.985, 0.008, 0.004, 0.003], [0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
    with np.errstate(divide="ignore"):
        log_probs_SV = np.log(probs_SV).astype(np.float32)
    assert likely_tokens(log_probs_SV, 0.99, 40).sum(axis=1).tolist() == [2, 4, 4, 1]
    assert likely_tokens(log_probs_SV, 0.9, 40).sum(axis=1).tolist() == [1, 3, 4, 1]
    assert likely_tokens(log_probs_SV, 0.99, 2).tolist()[1] == [True, True, False, False]
    assert likely_tokens(log_probs_SV, 1.0, 40).all()
    many_SV = random_log_probs(0, 3, 200, sharpness=0.1)
    assert likely_tokens(many_SV, 0.99, 40).sum(axis=1).tolist() == [40] * 3
    assert (np.sort(many_SV, axis=1)[:, -40] == np.where(likely_tokens(many_SV, 0.99, 40), many_SV, 0).min(axis=1)).all()


@pytest.mark.parametrize(("method", "lexicon"), [("beam", True), ("beam-free", False)])
def test_only_what_is_pruned_is_lost(words, method, lexicon):
    """Frames that are surely blank, several in a row, at the ends and within."""
    log_probs_SV = random_log_probs(3, 7, 4)
    log_probs_SV[[0, 1, 3, 4, 6]] = np.log([0.996, 0.002, 0.001, 0.001])
    settings = SearchConfig(alpha=1.0, beta=1.0, **EVERYTHING | {"token_mass": 0.99, "max_tokens": 3})
    with METHODS[method].open(words.material) as search:
        (found,) = search.decode([log_probs_SV], settings)
    kept_SV = np.where(likely_tokens(log_probs_SV, 0.99, 3), log_probs_SV, -np.inf)
    best, score = words.best(kept_SV, 1.0, 1.0, lexicon)
    assert found.words == best and found.score == pytest.approx(score, abs=1e-4)


def test_where_the_likely_tokens_spell_no_word_all_count(words):
    """The network is sure of `bb`, which only the search without a lexicon can say."""
    log_probs_SV = said(LETTERS, "bb", sure=20.0)
    with LexiconSearch(words.material) as search:
        (found,) = search.decode([log_probs_SV], SearchConfig(search_beam=200.0))
    assert found.reached_final and found.words and np.isfinite(found.score)


@pytest.mark.parametrize("method", ["beam", "beam-free"])
def test_blanks_alone_are_no_words_and_no_frames_no_path(words, characters, method):
    for problem in (words, characters):
        blank_SV = np.full((5, len(problem.vocabulary)), -20.0, dtype=np.float32)
        blank_SV[:, 0] = 0.0
        with METHODS[method].open(problem.material) as search:
            silence, nothing = search.decode([blank_SV, blank_SV[:0]], SearchConfig(alpha=1.0))
        assert silence.words == () and silence.reached_final
        assert silence.score == pytest.approx(problem.log_p_lm([]), abs=1e-4)
        assert nothing.words == () and not nothing.reached_final and nothing.score == -math.inf


def test_an_utterance_is_found_alone_as_among_others(words):
    log_probs = [random_log_probs(seed, 12, 4) for seed in range(5)]
    with METHODS["beam"].open(words.material) as search:
        together = search.decode(log_probs, SearchConfig())
        assert together == [search.decode([one], SearchConfig())[0] for one in log_probs]


@pytest.mark.parametrize("method", ["beam", "beam-free"])
class TestBadInput:
    @pytest.fixture
    def problem(self, tmp_path) -> Problem:
        return Problem(tmp_path, LETTERS, LINES, "word")

    def test_a_graph_of_other_tokens(self, problem, method):
        other = Material(problem.material.graph, Vocabulary((BLANK, " ", "a", "c")), "english", "word")
        with pytest.raises(DataError, match="compiled for other tokens.*'b' 'c'.*ds2 graph"):
            METHODS[method].open(other)

    def test_a_language_model_cut_off(self, problem, method):
        arpa = problem.material.arpa
        arpa.write_text(arpa.read_text(encoding="utf-8")[:-40], encoding="utf-8")
        with pytest.raises(DataError, match="G.arpa is not the language model.*cut off.*ds2 lm"):
            METHODS[method].open(problem.material)

    def test_no_language_model(self, problem, method):
        problem.material.arpa.unlink()
        with pytest.raises(DataError, match="G.arpa does not exist.*ds2 lm"):
            METHODS[method].open(problem.material)

    def test_a_lexicon_without_a_word_of_the_graph(self, problem, method):
        problem.material.lexicon.write_text("a a\n", encoding="utf-8")
        with pytest.raises(DataError, match="lexicon.txt has no 'ab'.*ds2 graph"):
            METHODS[method].open(problem.material)

    def test_log_probabilities_that_are_none(self, problem, method):
        with METHODS[method].open(problem.material) as search:
            with pytest.raises(ValueError, match="NaN"):
                search.decode([np.full((3, 4), np.nan, dtype=np.float32)], SearchConfig())
            with pytest.raises(ValueError, match="4 tokens"):
                search.decode([np.zeros((3, 5), dtype=np.float32)], SearchConfig())


def test_kenlm_names_a_damaged_model(tmp_path):
    from ds2toolkit.decode.kenlm import LanguageModel

    ngram.write_arpa(ngram.estimate([line.split() for line in LINES], 2), tmp_path / "G.arpa")
    text = (tmp_path / "G.arpa").read_text(encoding="utf-8")
    for damaged in ("", text[:60], text[:-40]):
        (tmp_path / "G.arpa").write_text(damaged, encoding="utf-8")
        with pytest.raises(DataError, match="G.arpa is not a whole ARPA file"):
            LanguageModel(tmp_path / "G.arpa", ["a"])


def test_a_language_model_in_capitals_has_no_word_of_the_lexicon(tmp_path):
    ngram.write_arpa(ngram.estimate([line.upper().split() for line in LINES], 2), tmp_path / "G.arpa")
    lexicon, _ = Lexicon.from_words(["ab"], LETTERS, "english")
    with pytest.raises(UserError, match="upper-case"):
        compile_graph(LETTERS.tokens, lexicon, tmp_path / "G.arpa", tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_settings_out_of_range_are_named():
    for name, value in (("lm_scale", 0.0), ("alpha", -1.0), ("beam_size", 0), ("token_mass", 1.5), ("search_beam", 0.0)):
        with pytest.raises(ValueError, match=f"search.{name}"):
            SearchConfig(**{name: value})
