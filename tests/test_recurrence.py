"""The recurrence against its equation, frame by frame, utterance by utterance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.model.recurrence import BidirectionalRNN, recur

CLIP = 1.2


def make(num_frames, num_hidden=4, extra=0, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    wx_TBH = torch.randn(max(num_frames) + extra, len(num_frames), num_hidden, dtype=dtype)
    u_2HH = torch.randn(2, num_hidden, num_hidden, dtype=dtype) * 0.6
    return wx_TBH.requires_grad_(), u_2HH.requires_grad_(), torch.tensor(num_frames)


def reference(wx_TBH, u_2HH, num_frames_B, clip):
    """h_t = min(max(wx_t + U h_(t-1), 0), clip) forward, and with h_(t+1) backward; their sum."""
    rows = []
    for b, num in enumerate(num_frames_B.tolist()):
        forward = direction(wx_TBH[:num, b], u_2HH[0], clip)
        backward = direction(wx_TBH[:num, b].flip(0), u_2HH[1], clip).flip(0)
        rows.append(torch.cat([forward + backward, wx_TBH.new_zeros(len(wx_TBH) - num, wx_TBH.shape[-1])]))
    return torch.stack(rows, 1)


def direction(wx_TH, u_HH, clip):
    state, states = torch.zeros_like(wx_TH[0]), []
    for wx_H in wx_TH:
        state = (wx_H + u_HH @ state).clamp(0, clip)
        states.append(state)
    return torch.stack(states)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 99))
def test_equals_the_equation_with_its_gradient(num_frames, extra, seed):
    wx_TBH, u_2HH, num_frames_B = make(num_frames, extra=extra, seed=seed)
    results = []
    for function in (recur, reference):
        hidden_TBH = function(wx_TBH, u_2HH, num_frames_B, CLIP)
        weight = torch.linspace(-1, 2, hidden_TBH.numel(), dtype=hidden_TBH.dtype).view(hidden_TBH.shape)
        results.append((hidden_TBH, *torch.autograd.grad((hidden_TBH * weight).sum(), (wx_TBH, u_2HH))))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_gradient_is_the_derivative_clipped_states_included():
    wx_TBH, u_2HH, num_frames_B = make([5, 2, 4], seed=3)
    one_way_TH = direction(wx_TBH[:, 0], u_2HH[0], CLIP)
    assert bool((one_way_TH == 0).any()) and bool((one_way_TH == CLIP).any())
    assert torch.autograd.gradcheck(lambda wx, u: recur(wx, u, num_frames_B, CLIP), (wx_TBH, u_2HH))


def test_values_in_padded_frames_do_not_matter_and_get_no_gradient():
    wx_TBH, u_2HH, num_frames_B = make([6, 2, 3])
    padding_TB = torch.arange(6)[:, None] >= num_frames_B
    other_TBH = wx_TBH.detach().clone()
    other_TBH[padding_TB] = 1e3
    hidden_TBH = recur(wx_TBH, u_2HH, num_frames_B, CLIP)
    torch.testing.assert_close(hidden_TBH, recur(other_TBH, u_2HH, num_frames_B, CLIP), rtol=0, atol=0)
    hidden_TBH.sum().backward()
    assert not wx_TBH.grad[padding_TB].any() and not hidden_TBH[padding_TB].any()


def test_time_reversed_is_the_directions_exchanged():
    wx_TBH, u_2HH, num_frames_B = make([6, 6])
    turned_TBH = recur(wx_TBH.flip(0), u_2HH.flip(0), num_frames_B, CLIP).flip(0)
    torch.testing.assert_close(turned_TBH, recur(wx_TBH, u_2HH, num_frames_B, CLIP), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_lower_precision_stays_near(dtype, tolerance):
    wx_TBH, u_2HH, num_frames_B = make([40, 25, 33], num_hidden=16)
    u_2HH = (u_2HH.detach() / 4).requires_grad_()
    exact = recur(wx_TBH, u_2HH, num_frames_B, 20.0)
    exact.sum().backward()
    low_wx, low_u = wx_TBH.detach().to(dtype).requires_grad_(), u_2HH.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        low = recur(low_wx, low_u, num_frames_B, 20.0)
    low.sum().backward()
    assert low.dtype == dtype and low_u.grad.dtype == torch.float32
    for near, true in ((low, exact), (low_wx.grad, wx_TBH.grad), (low_u.grad, u_2HH.grad)):
        assert (near.double() - true).norm().item() < tolerance * true.norm().item()


@pytest.mark.parametrize("num_frames", [[0, 3], [3, 9]])
def test_lengths_out_of_range(num_frames):
    with pytest.raises(ValueError, match="lengths must lie"):
        recur(torch.zeros(4, 2, 3), torch.zeros(2, 3, 3), torch.tensor(num_frames), CLIP)


def test_a_fresh_stack_neither_explodes_nor_dies():
    torch.manual_seed(0)
    num_frames_B = torch.tensor([500, 470])
    hidden_SBH = torch.randn(500, 2, 64)
    for layer in [BidirectionalRNN(64, 64, clip=20.0, momentum=0.1) for _ in range(5)]:
        hidden_SBH = layer(hidden_SBH, num_out_B=num_frames_B)
        early, late = (part.square().mean() for part in (hidden_SBH[:50], hidden_SBH[400:450]))
        assert 0.5 < late / early < 2
        assert 0.5 < hidden_SBH[:470].std() < 4 and hidden_SBH.max() < 20
        assert bool((hidden_SBH[:470].amax((0, 1)) > 0).all()), "a dead unit"
