"""The recurrences: lengths, order of time, precision, fresh weights; test_reference.py has their equations."""

import os
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.config import ModelConfig
from ds2toolkit.model import product
from ds2toolkit.model.recurrence import CELLS, RecurrentLayer, recur
from ds2toolkit.model.ways import each, ways

CLIP = 1.2


def make(cell, num_frames, num_hidden=4, extra=0, seed=0, num_ways=2):
    torch.manual_seed(seed)
    num_units = CELLS[cell].num_gates * num_hidden
    wx_TBG = torch.randn(max(num_frames) + extra, len(num_frames), num_units, dtype=torch.float64)
    u_2GH = torch.randn(num_ways, num_units, num_hidden, dtype=torch.float64) * 0.6
    return wx_TBG.requires_grad_(), u_2GH.requires_grad_(), torch.tensor(num_frames)


def alone(cell, wx_TBG, u_2GH, num_frames_B):
    """Each utterance in a batch of its own, without padding."""
    rows = []
    for b, num in enumerate(num_frames_B.tolist()):
        hidden_TH = recur(cell, wx_TBG[:num, b : b + 1], u_2GH, torch.tensor([num]), CLIP)[:, 0]
        rows.append(torch.cat([hidden_TH, hidden_TH.new_zeros(len(wx_TBG) - num, hidden_TH.shape[1])]))
    return torch.stack(rows, 1)


cells = pytest.mark.parametrize("cell", CELLS)


@cells
@settings(deadline=None, max_examples=12)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 99), st.integers(1, 2))
def test_any_lengths_give_what_each_utterance_gets_alone(cell, num_frames, extra, seed, num_ways):
    wx_TBG, u_2GH, num_frames_B = make(cell, num_frames, extra=extra, seed=seed, num_ways=num_ways)
    results = []
    for hidden_TBH in (recur(cell, wx_TBG, u_2GH, num_frames_B, CLIP), alone(cell, wx_TBG, u_2GH, num_frames_B)):
        weight = torch.linspace(-1, 2, hidden_TBH.numel(), dtype=hidden_TBH.dtype).view(hidden_TBH.shape)
        results.append((hidden_TBH, *torch.autograd.grad((hidden_TBH * weight).sum(), (wx_TBG, u_2GH))))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@cells
def test_gradient_is_the_derivative_clipped_states_included(cell):
    wx_TBG, u_2GH, num_frames_B = make(cell, [5, 2, 4], seed=3)
    assert torch.autograd.gradcheck(lambda wx, u: recur(cell, wx, u, num_frames_B, CLIP), (wx_TBG, u_2GH))


@cells
def test_values_in_padded_frames_do_not_matter_and_get_no_gradient(cell):
    wx_TBG, u_2GH, num_frames_B = make(cell, [6, 2, 3])
    padding_TB = torch.arange(6)[:, None] >= num_frames_B
    other_TBG = wx_TBG.detach().clone()
    other_TBG[padding_TB] = 1e3
    hidden_TBH = recur(cell, wx_TBG, u_2GH, num_frames_B, CLIP)
    torch.testing.assert_close(hidden_TBH, recur(cell, other_TBG, u_2GH, num_frames_B, CLIP), rtol=0, atol=0)
    hidden_TBH.sum().backward()
    assert not wx_TBG.grad[padding_TB].any() and not hidden_TBH[padding_TB].any()


@cells
def test_time_reversed_is_the_directions_exchanged(cell):
    wx_TBG, u_2GH, num_frames_B = make(cell, [6, 6])
    turned_TBH = recur(cell, wx_TBG.flip(0), u_2GH.flip(0), num_frames_B, CLIP).flip(0)
    torch.testing.assert_close(turned_TBH, recur(cell, wx_TBG, u_2GH, num_frames_B, CLIP), rtol=0, atol=1e-12)


@cells
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_lower_precision_stays_near(cell, dtype, tolerance):
    wx_TBG, u_2GH, num_frames_B = make(cell, [40, 25, 33], num_hidden=16)
    u_2GH = (u_2GH.detach() / 4).requires_grad_()
    exact = recur(cell, wx_TBG, u_2GH, num_frames_B, 20.0)
    exact.sum().backward()
    low_wx, low_u = wx_TBG.detach().to(dtype).requires_grad_(), u_2GH.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        low = recur(cell, low_wx, low_u, num_frames_B, 20.0)
    low.sum().backward()
    assert low.dtype == low_wx.grad.dtype == dtype and low_u.grad.dtype == torch.float32
    for near, true in ((low, exact), (low_wx.grad, wx_TBG.grad), (low_u.grad, u_2GH.grad)):
        assert (near.double() - true).norm().item() < tolerance * true.norm().item()


@cells
@pytest.mark.parametrize("num_ways", [1, 2])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_packed_products_come_to_the_same(cell, num_ways, dtype, tolerance, monkeypatch):
    wx_TBG, u_2GH, num_frames_B = make(cell, [12, 7, 9], num_hidden=16, num_ways=num_ways)
    wx_TBG, u_2GH = wx_TBG.detach().to(dtype).requires_grad_(), (u_2GH.detach() / 4).to(dtype).requires_grad_()
    results = []
    for min_packed in ({dtype: 1}, {}):
        monkeypatch.setattr(product, "MIN_PACKED", min_packed)
        hidden_TBH = recur(cell, wx_TBG, u_2GH, num_frames_B, CLIP)
        results.append((hidden_TBH, *torch.autograd.grad(hidden_TBH.sum(), (wx_TBG, u_2GH))))
    for packed, plain in zip(*results):
        assert (packed - plain).float().norm().item() <= tolerance * plain.float().norm().item()


def test_large_matrices_are_packed_where_that_can_be_had():
    large = torch.zeros(2, 1024, 512)
    assert product.packs(large[0]) == hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert not product.packs(large[0, :100]) and not product.packs(large[0].double())


@cells
@pytest.mark.parametrize("num_ways", [1, 2])
def test_the_number_of_threads_changes_nothing_but_rounding_and_no_setting(cell, num_ways):
    """Two directions have a thread each, where neither gradients nor precision are what they are here."""
    wx_TBG, u_2GH, num_frames_B = make(cell, [12, 7, 9], num_hidden=24, num_ways=num_ways)
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 2):
            torch.set_num_threads(num_threads)
            with torch.autocast("cpu", torch.bfloat16):
                hidden_TBH = recur(cell, wx_TBG, u_2GH, num_frames_B, CLIP)
            results.append((hidden_TBH, *torch.autograd.grad(hidden_TBH.sum(), (wx_TBG, u_2GH))))
            assert torch.get_num_threads() == num_threads and torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[1], results[2], rtol=0, atol=0)


def test_a_forked_process_has_a_thread_of_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two_ways, u_2GH = ways(torch.ones(3, 2, 1), 2), torch.zeros(2, 4, 4)
        assert each(lambda way, _: way.backwards, two_ways, u_2GH) == [False, True]
        child = os.fork()
        if not child:
            signal.alarm(20)  # ends a child that waits for ever
            os._exit(each(lambda way, _: way.backwards, two_ways, u_2GH) != [False, True])
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)


def test_what_goes_wrong_in_a_direction_is_heard_and_the_threads_come_back():
    def job(way, u_GH):
        if way.backwards:
            raise RuntimeError("backwards")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="backwards"):
            each(job, ways(torch.ones(3, 2, 1), 2), torch.zeros(2, 4, 4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bias", [True, False])
def test_packed_products_over_all_frames_come_to_the_same(bias, monkeypatch):
    torch.manual_seed(0)
    x_TBD, layer = torch.randn(7, 3, 20, requires_grad=True), torch.nn.Linear(20, 30, bias=bias)
    inputs, results = (x_TBD, *layer.parameters()), []
    for min_packed in ({torch.float32: 1}, {}):
        monkeypatch.setattr(product, "MIN_PACKED", min_packed)
        y_TBG = product.linear(x_TBD, layer.weight, layer.bias)
        weighted = (y_TBG * torch.linspace(-1, 2, y_TBG.numel()).view(y_TBG.shape)).sum()
        results.append((y_TBG, *torch.autograd.grad(weighted, inputs)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert product.linear(x_TBD, layer.weight, layer.bias).dtype == torch.bfloat16


@pytest.mark.parametrize("num_frames", [[0, 3], [3, 9]])
def test_lengths_out_of_range(num_frames):
    with pytest.raises(ValueError, match="lengths must lie"):
        recur("rnn", torch.zeros(4, 2, 3), torch.zeros(2, 3, 3), torch.tensor(num_frames), CLIP)


@cells
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_fresh_stack_neither_explodes_nor_dies(cell, batch_norm):
    torch.manual_seed(0)
    num_frames_B = torch.tensor([500, 470])
    hidden_SBH = torch.randn(500, 2, 64)
    config = ModelConfig(cell=cell, rnn_size=64, batch_norm=batch_norm)
    for layer in [RecurrentLayer(64, config) for _ in range(5)]:
        hidden_SBH = layer(hidden_SBH, num_out_B=num_frames_B)
        early, late = (part.square().mean() for part in (hidden_SBH[:50], hidden_SBH[400:450]))
        assert 0.5 < late / early < 2
        assert 0.25 < hidden_SBH[:470].std() < 4 and hidden_SBH.max() < 20
        # Without the norm some units of a ReLU start silent.
        assert not batch_norm or bool((hidden_SBH[:470].amax((0, 1)) > 0).all()), "a dead unit"
