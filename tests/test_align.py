"""Forced alignment held to all the paths there are, in float64; and the times of words and characters."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.decode import align as align_module
from ds2toolkit.decode.align import Alignment, Timed, align, characters, words
from ds2toolkit.errors import DataError
from ds2toolkit.model.ctc import min_frames


def random_log_probs(num_frames, num_tokens, seed, scale=1.0):
    logits = np.random.default_rng(seed).normal(size=(num_frames, num_tokens)) * scale
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def collapse(path):
    return [token for token, _ in itertools.groupby(path) if token]


def all_alignments(log_probs, targets):
    """Every path that says the targets, with its log-probability in float64."""
    num_frames, num_tokens = log_probs.shape
    exact = log_probs.astype(np.float64)
    for path in itertools.product(range(num_tokens), repeat=num_frames):
        if collapse(path) == targets:
            yield exact[range(num_frames), path].sum(), path


@st.composite
def problems(draw):
    num_tokens = draw(st.integers(2, 4))
    targets = draw(st.lists(st.integers(1, num_tokens - 1), max_size=3))
    num_frames = draw(st.integers(max(min_frames(targets), 1), 6))
    return random_log_probs(num_frames, num_tokens, draw(st.integers(0, 10**6)), draw(st.sampled_from([1, 5]))), targets


@settings(max_examples=150)
@given(problems(), st.sampled_from([1, 8, 2**20]))
def test_the_best_of_all_alignments_is_found_in_blocks_of_any_size(problem, most):
    log_probs, targets = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align_module, "MAX_POINTERS", most)
        found = align(log_probs, targets)
    best, path = max(all_alignments(log_probs, targets))
    said = [targets[position] if position >= 0 else 0 for position in found.position_S]
    assert found.score == pytest.approx(best, abs=1e-9)
    assert collapse(said) == targets
    assert log_probs.astype(np.float64)[range(len(said)), said].sum() == pytest.approx(best, abs=1e-9)
    assert len(found.spans) == len(targets)
    for number, (first, behind) in enumerate(found.spans):
        assert (found.position_S[first:behind] == number).all()
    assert sum(behind - first for first, behind in found.spans) == (found.position_S >= 0).sum()


def test_a_clear_path_is_found_frame_by_frame():
    log_probs = np.full((9, 3), -10.0)
    log_probs[range(9), [0, 1, 1, 0, 1, 2, 2, 0, 0]] = -0.1
    found = align(log_probs, [1, 1, 2])
    assert found.position_S.tolist() == [-1, 0, 0, -1, 1, 2, 2, -1, -1]
    assert found.spans == [(1, 3), (4, 5), (5, 7)] and found.score == pytest.approx(-0.9)
    silent = align(log_probs, [])
    assert silent.spans == [] and silent.score == pytest.approx(4 * -0.1 + 5 * -10.0)


def test_memory_is_bounded(monkeypatch):
    """All pointers at once would be 12 million bytes."""
    log_probs, targets = random_log_probs(3000, 20, 0), np.random.default_rng(0).integers(1, 20, 1000).tolist()
    whole = align(log_probs, targets)
    monkeypatch.setattr(align_module, "MAX_POINTERS", 2**18)
    tracemalloc.start()
    pieced = align(log_probs, targets)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000
    assert pieced.score == whole.score and np.array_equal(pieced.position_S, whole.position_S)


def test_what_cannot_be_aligned_is_named():
    log_probs = random_log_probs(4, 3, 0)
    with pytest.raises(DataError, match="4 frames cannot say 3 tokens, which need 5"):
        align(log_probs, [1, 1, 1])
    with pytest.raises(DataError, match="0 frames cannot say 0 tokens"):
        align(log_probs[:0], [])
    for wrong in (0, 3, -1):
        with pytest.raises(ValueError, match=f"target {wrong} is the blank or no token of 3"):
            align(log_probs, [1, wrong])
    log_probs[:, 2] = -np.inf
    with pytest.raises(ValueError, match="probability zero"):
        align(log_probs, [1, 2])


def test_words_and_characters_have_their_times():
    """Two tokens of several characters, as pairs and word pieces are, stand for all of them."""
    position_S = np.array([-1, 0, 0, -1, 1, 2, -1, -1, 3])
    timed = characters(Alignment(position_S, 0.0), ["a", "ch", " ", "o"], 0.02)
    assert timed == [
        Timed("a", 0.02, 0.06), Timed("c", 0.08, 0.1), Timed("h", 0.08, 0.1), Timed(" ", 0.1, 0.12), Timed("o", 0.16, 0.18)
    ]  # fmt: skip
    assert words(timed) == [Timed("ach", 0.02, 0.1), Timed("o", 0.16, 0.18)]
    pieces = characters(Alignment(position_S, 0.0), [" the", " ca", "t", " s"], 0.02)
    assert words(pieces) == [Timed("the", 0.02, 0.06), Timed("cat", 0.08, 0.12), Timed("s", 0.16, 0.18)]
    assert words([]) == []
