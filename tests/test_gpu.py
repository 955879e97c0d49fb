"""The recurrences in captured steps against those of the CPU; on a GPU, the whole network against the CPU's float64.

Whatever does not need a GPU runs anywhere: the steps are the same functions there, only not captured.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ds2toolkit.config import ConvConfig, ModelConfig
from ds2toolkit.model import captured, cuda
from ds2toolkit.model.captured import NUM_STEPS, rounded, windows
from ds2toolkit.model.ctc import ctc_loss, greedy
from ds2toolkit.model.deepspeech2 import DeepSpeech2
from ds2toolkit.model.recurrence import CELLS, recur

CLIP, NUM_HIDDEN, NUM_BINS, NUM_TOKENS = 1.2, 5, 9, 6
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
cells = pytest.mark.parametrize("cell", CELLS)
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
TARGETS_BU = torch.tensor([[1, 2, 2, 3], [3, 4, 1, 0], [4, 4, 4, 0]])
NUM_TARGETS, NUM_FRAMES = torch.tensor([4, 3, 3]), torch.tensor([90, 37, 66])


@pytest.fixture(autouse=True)
def no_tf32():
    """Convolutions of fp32 keep ten bits of it on a GPU, if they are let."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def make(cell, num_frames, num_ways, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    num_units = CELLS[cell].num_gates * NUM_HIDDEN
    wx_TBG = torch.randn(max(num_frames), len(num_frames), num_units, dtype=torch.float64)
    u_2GH = torch.randn(num_ways, num_units, NUM_HIDDEN, dtype=torch.float64) * 0.5
    return wx_TBG.to(dtype).requires_grad_(), u_2GH.to(dtype).requires_grad_(), torch.tensor(num_frames)


def in_steps(cell, wx_TBG, u_2GH, num_frames_B):
    mask_TB1 = (torch.arange(len(wx_TBG))[:, None] < num_frames_B)[:, :, None].to(wx_TBG)
    return cuda.recur(cell, wx_TBG, u_2GH, mask_TB1, CLIP)


def with_gradients(hidden_TBH, *inputs):
    weight = torch.linspace(-1, 2, hidden_TBH.numel(), dtype=torch.float64).view(hidden_TBH.shape).to(hidden_TBH)
    return [x.detach().cpu() for x in (hidden_TBH, *torch.autograd.grad((hidden_TBH * weight).sum(), inputs))]


@cells
@devices
@pytest.mark.parametrize("num_ways", [1, 2])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_in_steps_it_comes_to_the_same(cell, device, num_ways, dtype, tolerance):
    for num_frames in ([1], [NUM_STEPS, 3, 9], [3, NUM_STEPS + 1, 2], [40, 1, 2, 33, 16, 17, 40, 7, 39], [5, 37]):
        wx_TBG, u_2GH, num_frames_B = make(cell, num_frames, num_ways, dtype, seed=len(num_frames))
        expected = with_gradients(recur(cell, wx_TBG, u_2GH, num_frames_B, CLIP), wx_TBG, u_2GH)
        there = [x.detach().to(device).requires_grad_() for x in (wx_TBG, u_2GH)]
        found = with_gradients(in_steps(cell, *there, num_frames_B), *there)
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@cells
@devices
def test_bf16_in_steps_stays_near(cell, device):
    exact_wx, exact_u, num_frames_B = make(cell, [40, 25, 33], 2)
    exact_u = (exact_u.detach() / 2).requires_grad_()
    low = [x.detach().bfloat16().to(device).requires_grad_() for x in (exact_wx, exact_u)]
    expected = with_gradients(recur(cell, exact_wx, exact_u, num_frames_B, CLIP), exact_wx, exact_u)
    for near, exact in zip(with_gradients(in_steps(cell, *low, num_frames_B), *low), expected):
        assert near.dtype == torch.bfloat16 and (near.double() - exact).norm() < 0.06 * exact.norm()


@cells
@devices
def test_what_an_earlier_batch_left_behind_does_not_matter(cell, device):
    wx_TBG, u_2GH, num_frames_B = make(cell, [21, 5, 20], 2, torch.float32)
    wx_TBG, u_2GH = (x.detach().to(device).requires_grad_() for x in (wx_TBG, u_2GH))
    before = with_gradients(in_steps(cell, wx_TBG, u_2GH, num_frames_B), wx_TBG, u_2GH)
    broken = [torch.full((37, 7, wx_TBG.shape[-1]), float("nan"), device=device, requires_grad=True), u_2GH]
    assert with_gradients(in_steps(cell, *broken, torch.full((7,), 37)), *broken)[0].isnan().any()
    after = with_gradients(in_steps(cell, wx_TBG, u_2GH, num_frames_B), wx_TBG, u_2GH)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@cells
def test_the_gradient_in_steps_is_the_derivative(cell):
    wx_TBG, u_2GH, num_frames_B = make(cell, [4, 2], 2, seed=3)
    assert torch.autograd.gradcheck(lambda wx, u: in_steps(cell, wx, u, num_frames_B), (wx_TBG, u_2GH))


class InPlace(TorchDispatchMode):
    """Notes what a capture forbids or would not replay: new memory, and looks at a value."""

    def __init__(self, loop):
        super().__init__()
        self.own = {x.untyped_storage().data_ptr() for x in (loop.weight, *loop.buffers.values())}
        self.forbidden = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        parts = result if isinstance(result, (tuple, list)) else [result]
        for part in parts:
            if not isinstance(part, torch.Tensor) or part.untyped_storage().data_ptr() not in self.own:
                self.forbidden.append(str(operation))
        return result


@cells
def test_steps_can_be_captured(cell, monkeypatch):
    runs, take = [], captured.Loop.take

    def watched(loop):
        with InPlace(loop) as watch:
            take(loop)
        runs.append(watch.forbidden)

    monkeypatch.setattr(captured.Loop, "take", watched)
    captured._loop.cache_clear()
    wx_TBG, u_2GH, num_frames_B = make(cell, [20], 2)
    with_gradients(in_steps(cell, wx_TBG, u_2GH, num_frames_B), wx_TBG, u_2GH)
    captured._loop.cache_clear()
    assert runs == [[]] * 4


def test_the_watch_over_steps_sees_both():
    loop = captured.Loop(lambda **_: None, {"h": torch.zeros(3, 1)}, torch.zeros(1), CLIP, back=False)
    with InPlace(loop) as watch:
        loop.buffers["h"][0].add_(loop.weight)
        assert not watch.forbidden
        float(loop.buffers["h"][0])
        loop.buffers["h"] + 1
    assert [name.split(".")[1] for name in watch.forbidden] == ["_local_scalar_dense", "add"]


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("num_steps", [1, NUM_STEPS - 1, NUM_STEPS, NUM_STEPS + 1, 5 * NUM_STEPS + 3])
def test_windows_take_every_step_once_in_order(num_steps, back):
    pairs = list(windows(num_steps, back))
    order = [range(num_steps)[times][:: -1 if back else 1] for times, _ in pairs]
    assert [k for times in order for k in times] == list(range(num_steps))[:: -1 if back else 1]
    for times, slots in pairs:
        assert times.stop - times.start == slots.stop - slots.start
        assert (slots.stop == NUM_STEPS) if back else (slots.start == 1)


def test_batch_sizes_are_few_and_near():
    sizes = {size: rounded(size) for size in range(1, 513)}
    assert all(size <= near and (near < 17 or near < 1.5 * size) for size, near in sizes.items())
    assert len(set(sizes.values())) < 16 and all(near % 8 == 0 for near in sizes.values())


def network(cell, **settings):
    torch.manual_seed(1)
    conv = ConvConfig(channels=(3, 4), kernels=((5, 3), (3, 5)), strides=((2, 2), (2, 1)))
    config = ModelConfig(conv=conv, cell=cell, num_rnn_layers=2, rnn_size=16, **settings)
    return DeepSpeech2(config, NUM_BINS, NUM_TOKENS)


def features(dtype=torch.float32):
    return torch.randn(3, 90, NUM_BINS, generator=torch.Generator().manual_seed(2)).to(dtype)


def learn(model, feats_BTF, device, precision):
    """Log-probabilities cut to length, and the gradient of the summed loss, as they come from a device."""
    model, autocast = model.to(device), torch.autocast(device, torch.bfloat16)
    with autocast if precision == "bf16" else nullcontext():
        log_probs_BSV, num_out_B = model(feats_BTF.to(device), NUM_FRAMES)
    ctc_loss(log_probs_BSV, num_out_B, TARGETS_BU, NUM_TARGETS).sum().backward()
    cut = [log_probs_SV[:num].detach() for log_probs_SV, num in zip(log_probs_BSV, num_out_B)]
    return torch.cat(cut), torch.cat([p.grad.flatten() for p in model.parameters()])


@cells
@devices
@pytest.mark.parametrize("settings", [{}, {"bidirectional": False, "lookahead": 3, "num_dense_layers": 2}])
@pytest.mark.parametrize("precision, tolerances", [("fp32", (1e-5, 1e-4)), ("bf16", (0.02, 0.3))])
def test_the_whole_network_stays_near_float64(cell, device, settings, precision, tolerances):
    true = learn(network(cell, **settings).double(), features(torch.float64), "cpu", "fp64")
    near = learn(network(cell, **settings), features(), device, precision)
    for found, exact, tolerance in zip(near, true, tolerances):
        assert found.dtype == torch.float32 and found.device.type == device
        assert (found.double().cpu() - exact).norm() < tolerance * exact.norm()


@cells
@devices
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_steps_and_a_greedy_path(cell, device, precision):
    model, losses = network(cell).to(device), []
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, nesterov=True)
    for _ in range(3):
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext():
            log_probs_BSV, num_out_B = model(features().to(device), NUM_FRAMES)
        loss = ctc_loss(log_probs_BSV, num_out_B, TARGETS_BU, NUM_TARGETS).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
    paths = []
    for there in (device, "cpu"):
        with torch.inference_mode():
            paths.append(greedy(*model.to(there).eval()(features().to(there), NUM_FRAMES)))
    assert len(paths[0]) == 3 and (precision == "bf16" or paths[0] == paths[1])


@cells
@pytest.mark.parametrize("settings", [{}, {"bidirectional": False, "lookahead": 3, "num_dense_layers": 2}])
def test_a_step_waits_for_no_value(cell, settings, monkeypatch):
    """Tensors on the device "meta" have no values: a look at one, or one that has strayed to another device, raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no such device
    model = network(cell, **settings).to("meta")
    log_probs_BSV, num_out_B = model(features().to("meta"), NUM_FRAMES)
    log_probs_BSV.sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
    assert num_out_B.device.type == "cpu" and {p.grad.device.type for p in model.parameters()} == {"meta"}
