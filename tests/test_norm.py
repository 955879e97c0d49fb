"""Sequence-wise batch norm against the same formula over the unpadded frames laid end to end."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ds2toolkit.model.norm import SequenceWiseNorm, frame_mask

lengths = st.lists(st.integers(1, 9), min_size=2, max_size=5)


def make(num_frames, num_units=3, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    num_frames_B = torch.tensor(num_frames)
    x_TBH = torch.randn(max(num_frames) + 2, len(num_frames), num_units, dtype=dtype) * 3 + 5
    norm = SequenceWiseNorm(num_units).to(dtype)
    with torch.no_grad():
        norm.gamma.uniform_(0.5, 2)
        norm.beta.uniform_(-1, 1)
    return norm, x_TBH, frame_mask(num_frames_B, len(x_TBH)).T[:, :, None]


def reference(norm, x_TBH, mask):
    """torch's own batch norm, given the unpadded frames alone."""
    real = mask.squeeze(-1)
    out_NH = F.batch_norm(x_TBH[real], None, None, norm.gamma, norm.beta, training=True, eps=norm.eps)
    return torch.zeros_like(x_TBH).index_put(real.nonzero(as_tuple=True), out_NH)


@settings(deadline=None, max_examples=25)
@given(lengths, st.integers(0, 99))
def test_equals_batch_norm_of_unpadded_frames(num_frames, seed):
    norm, x_TBH, mask = make(num_frames, seed=seed)
    x_TBH.requires_grad_()
    outs, grads = [], []
    for out in (norm(x_TBH, mask), reference(norm, x_TBH, mask)):
        weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        outs.append(out)
        grads.append(torch.autograd.grad((out * weight).sum(), (x_TBH, norm.gamma, norm.beta)))
    torch.testing.assert_close(*outs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-9)
    assert not outs[0][~mask.expand_as(outs[0])].any()


@pytest.mark.parametrize("training", [True, False])
def test_gradient_is_the_derivative(training):
    norm, x_TBH, mask = make([4, 2, 3])
    norm.train(training)
    norm.running_mean += 4.0
    inputs = (x_TBH.requires_grad_(), norm.gamma, norm.beta)
    assert torch.autograd.gradcheck(lambda x, gamma, beta: norm(x, mask), inputs)


def test_padding_changes_neither_outputs_nor_statistics():
    norm, x_TBH, mask = make([9, 4])
    other, _, _ = make([9, 4])
    padded = torch.cat([x_TBH, torch.full_like(x_TBH, 1e3)])
    more = torch.cat([mask, torch.zeros_like(mask)])
    torch.testing.assert_close(norm(x_TBH, mask), other(padded, more)[: len(x_TBH)], rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.running_var, other.running_var, rtol=1e-12, atol=0)


def test_running_statistics_are_those_of_unpadded_frames_and_serve_evaluation():
    norm, x_TBH, mask = make([9, 4, 6])
    for _ in range(300):
        norm(x_TBH, mask)
    frames_NH = x_TBH[mask.squeeze(-1)]
    torch.testing.assert_close(norm.running_mean, frames_NH.mean(0))
    torch.testing.assert_close(norm.running_var, frames_NH.var(0, unbiased=False))
    torch.testing.assert_close(norm.eval()(x_TBH, mask), norm.train()(x_TBH, mask))


def test_evaluation_leaves_running_statistics_alone():
    norm, x_TBH, mask = make([3, 5])
    norm.eval()(x_TBH, mask)
    assert not norm.running_mean.any() and bool((norm.running_var == 1).all())


def test_statistics_survive_a_large_mean_and_half_precision():
    norm, x_TBH, mask = make([90, 40], dtype=torch.float32)
    wide = copy.deepcopy(norm).double()
    large = x_TBH + 1e4
    torch.testing.assert_close(norm(large, mask).double(), wide(large.double(), mask), rtol=0, atol=1e-2)
    half = x_TBH.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(half, mask)
    assert out.dtype == torch.bfloat16 and norm.running_mean.dtype == torch.float32
    torch.testing.assert_close(out.double(), wide(half.double(), mask), rtol=1e-2, atol=1e-2)


def test_one_frame_has_no_variance_and_gets_beta():
    norm, x_TBH, mask = make([1])
    torch.testing.assert_close(norm(x_TBH, mask)[0, 0], norm.beta)


def test_mask():
    assert frame_mask(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True, True, True]]


@pytest.mark.parametrize("num_frames", [[0, 2], [2, 4], [-1], [1.0]])
def test_lengths_out_of_range(num_frames):
    with pytest.raises(ValueError, match="lengths must"):
        frame_mask(torch.tensor(num_frames), 3)
