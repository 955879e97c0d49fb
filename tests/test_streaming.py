"""Frames in, words out: a stream says what the whole utterance does, wherever it is cut."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder, StreamingDecoder
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.ngram import estimate, write_arpa
from ds2toolkit.text.vocabulary import Vocabulary

TOKENS = ("<blk>", " ", "a", "b", "n")
BEAMS = [SearchConfig(), SearchConfig(search_beam=3.0, min_active=2, max_active=8)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    text = [line.split() for line in ("a b", "ab a", "an a b", "b", "a a b an", "ban a")]
    lexicon, _ = Lexicon.from_words({word for words in text for word in words}, Vocabulary(TOKENS), "english")
    write_arpa(estimate(text, 2), folder / "lm.arpa")
    return compile_graph(TOKENS, lexicon, folder / "lm.arpa", folder / "graph")


def random_log_probs(seed, num_frames):
    logits = np.random.default_rng(seed).normal(size=(num_frames, len(TOKENS))) * (1 + seed % 3 * 3)
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def one_hot(text):
    log_probs = np.full((len(text), len(TOKENS)), -20.0, np.float32)
    log_probs[range(len(text)), [TOKENS.index("<blk>" if token == "_" else token) for token in text]] = 0.0
    return log_probs


@settings(max_examples=80)
@given(seed=st.integers(0, 10**6), chunks=st.lists(st.integers(0, 17), max_size=8), beams=st.sampled_from(BEAMS))
def test_a_stream_ends_as_the_whole_utterance_however_it_is_cut(graph, seed, chunks, beams):
    log_probs = random_log_probs(seed, sum(chunks))
    stream, at = StreamingDecoder(graph, beams), 0
    for chunk in chunks:
        said = stream.accept(log_probs[at : at + chunk])
        at += chunk
    found, (whole,) = stream.finish(), KaldiDecoder(graph).decode([log_probs], beams)
    assert (found.word_ids, found.reached_final) == (whole.word_ids, whole.reached_final)
    assert found.score == pytest.approx(whole.score, abs=1e-4)
    assert not chunks or set(said) <= set(graph.words)


def test_words_come_as_they_are_said_and_one_utterance_follows_another(graph):
    stream = StreamingDecoder(graph, SearchConfig())
    for _ in range(2):
        said = [stream.accept(one_hot(chunk)) for chunk in ("__", "b", "an_", "", " a", "__")]
        assert said[0] == () and said[2:] == [("ban",), ("ban",), ("ban", "a"), ("ban", "a")]
        found = stream.finish()
        assert graph.spell(found.word_ids) == ("ban", "a") and found.reached_final
    assert stream.accept(one_hot("")) == ()
    assert stream.finish() == ((), -math.inf, False)


def test_a_stream_that_ends_in_the_middle_of_a_word_says_so(graph):
    """All that could end lies outside the beam: "ba" begins a word and is none."""
    stream = StreamingDecoder(graph, SearchConfig(search_beam=100.0, min_active=0))
    for token in "b ban ba":
        stream.accept(50 * one_hot(token))
    found = stream.finish()
    assert not found.reached_final and graph.spell(found.word_ids)[:2] == ("b", "ban") and found.score > -math.inf


@pytest.mark.parametrize("wrong", [np.zeros((3, 4)), np.zeros(5), np.full((2, 5), np.nan)])
def test_frames_that_cannot_be_decoded_are_refused_and_the_stream_goes_on(graph, wrong):
    stream = StreamingDecoder(graph, SearchConfig())
    stream.accept(one_hot("ban"))
    with pytest.raises(ValueError, match="utterance 0"):
        stream.accept(wrong)
    stream.accept(one_hot(" a"))
    assert graph.spell(stream.finish().word_ids) == ("ban", "a")
