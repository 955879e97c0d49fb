"""CTC against the sum over every path, and the boundary of what a number of frames can emit."""

from itertools import groupby, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.model.ctc import ctc_loss, greedy, greedy_with_times, min_frames

NUM_TOKENS = 3
targets = st.lists(st.integers(1, NUM_TOKENS - 1), max_size=3)


def log_probs(num_out, seed=0, num_tokens=NUM_TOKENS):
    torch.manual_seed(seed)
    return torch.randn(1, num_out, num_tokens, dtype=torch.float64).log_softmax(-1)


def loss(log_probs_1SV, target, num_padding=0):
    padded = torch.tensor([list(target) + [-1] * num_padding], dtype=torch.int64).view(1, -1)
    num_out_B = torch.tensor([log_probs_1SV.shape[1]])
    return ctc_loss(log_probs_1SV, num_out_B, padded, torch.tensor([len(target)]))


def collapse(path):
    return [token for token, _ in groupby(path) if token != 0]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), targets, st.integers(0, 99), st.integers(0, 2))
def test_loss_is_the_sum_over_every_path(num_out, target, seed, num_padding):
    scores = log_probs(num_out, seed)
    paths = [path for path in product(range(NUM_TOKENS), repeat=num_out) if collapse(path) == target]
    total = sum(float(scores[0, range(num_out), path].sum().exp()) for path in paths)
    found = loss(scores, target, num_padding)
    torch.testing.assert_close(found, -torch.tensor([total], dtype=torch.float64).log(), rtol=1e-9, atol=1e-9)
    assert bool(found.isinf()) == (num_out < min_frames(target))


def test_min_frames_counts_a_blank_between_equal_neighbours():
    assert [min_frames(t) for t in ([], [1], [1, 2, 1], [1, 1], [2, 2, 2, 1])] == [0, 1, 3, 3, 6]


def test_an_utterance_too_short_is_infinite_and_leaves_the_others_gradient_alone():
    scores_BSV = log_probs(8).view(2, 4, NUM_TOKENS).requires_grad_()
    targets_BU, num_targets_B = torch.tensor([[1, 1, 1], [1, 2, 0]]), torch.tensor([3, 2])
    losses_B = ctc_loss(scores_BSV, torch.tensor([4, 4]), targets_BU, num_targets_B)
    assert losses_B.isinf().tolist() == [True, False]
    losses_B[losses_B.isfinite()].sum().backward()
    alone = scores_BSV.detach()[1:].requires_grad_()
    loss(alone, [1, 2]).sum().backward()
    assert not scores_BSV.grad[0].any()
    torch.testing.assert_close(scores_BSV.grad[1:], alone.grad)


def test_frames_and_targets_in_padding_do_not_matter():
    scores_BSV = torch.cat([log_probs(6), log_probs(6, seed=1)])
    targets_BU = torch.tensor([[1, 2], [2, -100]])
    losses_B = ctc_loss(scores_BSV, torch.tensor([6, 4]), targets_BU, torch.tensor([2, 1]))
    assert losses_B[0] == loss(scores_BSV[:1], [1, 2]) and losses_B[1] == loss(scores_BSV[1:, :4], [2])


def test_the_loss_is_a_sum_and_of_the_type_of_the_log_probabilities():
    scores = log_probs(4).float()
    repeated = scores.repeat_interleave(2, 0)
    one, two = (ctc_loss(s, torch.full((len(s),), 4), torch.ones(len(s), 1, dtype=torch.int64),
                         torch.ones(len(s), dtype=torch.int64)) for s in (scores, repeated))
    assert two.dtype == torch.float32 and two.tolist() == one.tolist() * 2


@pytest.mark.parametrize("num_out, target, num_target", [
    (0, [1], 1), (5, [1], 1), (4, [1], 2), (4, [1], -1), (4, [0], 1), (4, [NUM_TOKENS], 1), (4, [-1], 1)])
def test_out_of_range(num_out, target, num_target):
    with pytest.raises(ValueError, match="must lie in"):
        ctc_loss(log_probs(4), torch.tensor([num_out]), torch.tensor([target]), torch.tensor([num_target]))


def one_hot(paths):
    return torch.nn.functional.one_hot(torch.tensor(paths), NUM_TOKENS).double()


@given(st.lists(st.integers(0, NUM_TOKENS - 1), min_size=1, max_size=12), st.integers(0, 3))
def test_greedy_collapses_the_best_path(path, num_padding):
    scores = one_hot([path + [1] * num_padding])
    num_out_B = torch.tensor([len(path)])
    assert greedy(scores, num_out_B) == [collapse(path)]
    frames = [frame for _, frame in greedy_with_times(scores, num_out_B)[0]]
    starts = [k for k in range(len(path)) if path[k] and (k == 0 or path[k - 1] != path[k])]
    assert frames == starts


def test_greedy_of_a_batch():
    scores = one_hot([[1, 1, 0, 1, 2], [0, 0, 2, 2, 1]])
    assert greedy_with_times(scores, torch.tensor([5, 4])) == [[(1, 0), (1, 3), (2, 4)], [(2, 2)]]
