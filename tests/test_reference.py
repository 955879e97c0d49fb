"""Every part of the network against its equation, frame by frame for one utterance at a time, in float64."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from ds2toolkit.config import ConvConfig, ModelConfig
from ds2toolkit.model.deepspeech2 import DeepSpeech2
from ds2toolkit.model.lookahead import RowConvolution
from ds2toolkit.model.recurrence import RecurrentLayer, recur

CLIP, NUM_BINS, NUM_TOKENS, WIDTH = 1.2, 6, 5, 6
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
LENGTHS = [9, 4, 7]
TWO_D = ConvConfig((2, 3), ((5, 3), (3, 5)), ((2, 2), (1, 1)), "2d")
ONE_D = ConvConfig((6, 8), (5, 3), (1, 2), "1d")
DS1 = ConvConfig((6, 6, 6), (7, 1, 1), (2, 1, 1), "1d")
CELLS = pytest.mark.parametrize(
    ("cell", "bidirectional", "batch_norm"), list(product(GATES, (True, False), (True, False)))
)


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def clipped(x, clip=CLIP):
    return x.clamp(0, clip)


def rnn(wx, u, h, c):
    return clipped(wx + u @ h), c


def gru(wx, u, h, c):
    wx_z, wx_r, wx_c = wx.chunk(3)
    u_z, u_r, u_c = u.chunk(3)
    z, r = sigmoid(wx_z + u_z @ h), sigmoid(wx_r + u_r @ h)
    return (1 - z) * h + z * clipped(wx_c + r * (u_c @ h)), c


def lstm(wx, u, h, c):
    o, i, f, g = (wx + u @ h).chunk(4)
    c = sigmoid(f) * c + sigmoid(i) * g.tanh()
    return sigmoid(o) * c.tanh(), c


def direction(cell, wx_TG, u_GH):
    h = c = wx_TG.new_zeros(u_GH.shape[1])
    states = []
    for wx in wx_TG:
        h, c = {"rnn": rnn, "gru": gru, "lstm": lstm}[cell](wx, u_GH, h, c)
        states.append(h)
    return torch.stack(states)


def both_directions(cell, wx_TG, u_2GH):
    total_TH = direction(cell, wx_TG, u_2GH[0])
    for u_GH in u_2GH[1:]:
        total_TH = total_TH + direction(cell, wx_TG.flip(0), u_GH).flip(0)
    return total_TH


def normalised(layer, utterances):
    """B over the frames of all utterances laid end to end; channels (or units) last."""
    if not hasattr(layer.norm, "gamma"):
        return utterances
    flat = torch.cat([x.reshape(-1, x.shape[-1]) for x in utterances])
    mean, variance = flat.mean(0), flat.var(0, unbiased=False)
    scale = layer.norm.gamma / (variance + layer.norm.eps).sqrt()
    return [(x - mean) * scale + layer.norm.beta for x in utterances]


def convolution(layer, utterances):
    """Each utterance by itself, padded with zeros: (T, F, C) to (T', F', C')."""
    conv = layer.conv
    pad_f, pad_t = conv.padding
    outs = []
    for x_TFC in utterances:
        x = F.pad(x_TFC, (0, 0, pad_f, pad_f, pad_t, pad_t))
        windows = x.unfold(0, conv.kernel_size[1], conv.stride[1]).unfold(1, conv.kernel_size[0], conv.stride[0])
        out = torch.einsum("tfcjk,ockj->tfo", windows, conv.weight)
        outs.append(out if conv.bias is None else out + conv.bias)
    return [clipped(x, layer.clip) for x in normalised(layer, outs)]


def row_convolution(layer, h_TH):
    num_frames, num_window = len(h_TH), layer.weight_HJ.shape[1]
    rows = []
    for t in range(num_frames):
        rows.append(sum(layer.weight_HJ[:, j] * h_TH[t + j] for j in range(num_window) if t + j < num_frames))
    return torch.stack(rows)


def network(model, config, utterances):
    """DS2, sections 3.1 to 3.7, in the words of its equations."""
    one_d = config.conv.kind == "1d"
    xs = [x_TF[:, None, :] if one_d else x_TF[:, :, None] for x_TF in utterances]
    for layer in model.conv.layers:
        xs = convolution(layer, xs)
    xs = [x_TFC.flatten(1) for x_TFC in xs]
    for layer in model.recurrent:
        wxs = normalised(layer, [layer.input(x) for x in xs])
        xs = [both_directions(config.cell, wx, layer.u_2HH) for wx in wxs]
    if config.lookahead:
        xs = [row_convolution(model.lookahead, x) for x in xs]
    for layer in model.dense:
        xs = [clipped(x) for x in normalised(layer, [layer.input(x) for x in xs])]
    return [model.output(x).log_softmax(-1) for x in xs]


def make(config, seed=0):
    """A network with every parameter away from where it starts; biases above zero, so that no layer is dead."""
    torch.manual_seed(seed)
    model = DeepSpeech2(config, NUM_BINS, NUM_TOKENS).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) + (0.2 if parameter.dim() == 1 else 0.0))
    return model


def padded(utterances, extra=0, value=float("nan")):
    feats_BTF = torch.full((len(utterances), max(map(len, utterances)) + extra, NUM_BINS), value, dtype=torch.float64)
    for feats_TF, utterance in zip(feats_BTF, utterances):
        feats_TF[: len(utterance)] = utterance
    return feats_BTF, torch.tensor([len(utterance) for utterance in utterances])


def config_of(conv=TWO_D, **settings):
    return replace(ModelConfig(conv=conv, num_rnn_layers=2, rnn_size=WIDTH, clip=CLIP), **settings)


NETWORKS = {
    f"{cell}-{'bi' if both else 'uni'}-{'norm' if norm else 'bias'}": config_of(
        cell=cell, bidirectional=both, batch_norm=norm
    )
    for cell, both, norm in product(GATES, (True, False), (True, False))
} | {
    "1d": config_of(ONE_D),
    "1d-bias": config_of(ONE_D, batch_norm=False),
    "lookahead": config_of(bidirectional=False, lookahead=3),
    "dense": config_of(ONE_D, num_rnn_layers=1, num_dense_layers=3),
    "ds1": config_of(DS1, num_rnn_layers=1, num_dense_layers=2, batch_norm=False),
}


def utterances_of(lengths=LENGTHS):
    torch.manual_seed(5)
    return [torch.randn(length, NUM_BINS, dtype=torch.float64) for length in lengths]


def gradients(model, log_probs):
    """Of a weighted sum in which every log-probability counts differently."""
    flat = torch.cat([log_probs_SV.flatten() for log_probs_SV in log_probs])
    weighted = (flat * torch.linspace(-1, 2, len(flat), dtype=flat.dtype)).sum()
    return torch.autograd.grad(weighted, list(model.parameters()))


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_the_network_and_its_gradient_equal_the_equations(config):
    model, utterances = make(config), utterances_of()
    log_probs_BSV, num_out_B = model(*padded(utterances, extra=2))
    ours = [log_probs_SV[:num] for log_probs_SV, num in zip(log_probs_BSV, num_out_B)]
    expected = network(model, config, utterances)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    grads = gradients(model, ours)
    torch.testing.assert_close(grads, gradients(model, expected), rtol=1e-8, atol=1e-9)
    assert all(grad.any() for grad in grads)


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_padding_and_the_order_of_the_batch_change_nothing(config):
    model, utterances = make(config), utterances_of()
    results = []
    for order, extra, value in (((0, 1, 2), 0, 0.0), ((2, 0, 1), 9, float("nan")), ((1, 2, 0), 4, 1e6)):
        log_probs_BSV, num_out_B = model(*padded([utterances[b] for b in order], extra, value))
        cut = [log_probs_BSV[order.index(b), : num_out_B[order.index(b)]] for b in range(3)]
        results.append((cut, gradients(model, cut)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(results[2], results[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_evaluation_hears_each_utterance_alone(config):
    model, utterances = make(config), utterances_of()
    model(*padded(utterances))
    model.eval()
    together, num_out_B = model(*padded(utterances, extra=5))
    for b, utterance in enumerate(utterances):
        alone, num_out = model(*padded([utterance]))
        torch.testing.assert_close(together[b, : num_out_B[b]], alone[0], rtol=1e-9, atol=1e-9)
        assert num_out.item() == num_out_B[b]


@CELLS
def test_the_layers_gradient_is_the_derivative(cell, bidirectional, batch_norm):
    torch.manual_seed(1)
    layer = RecurrentLayer(3, config_of(cell=cell, bidirectional=bidirectional, batch_norm=batch_norm)).double()
    x_SBD = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters())

    def function(x_SBD, *values):
        return torch.func.functional_call(layer, dict(zip(names, values)), (x_SBD, torch.tensor([5, 3])))

    assert torch.autograd.gradcheck(function, (x_SBD, *values))


@pytest.mark.parametrize("cell", GATES)
def test_clipping_and_shut_gates_are_met_in_the_reference(cell):
    """Large inputs, so that the candidate meets both ends of the clip; the gradient still agrees."""
    torch.manual_seed(2)
    wx_TG = 2 * torch.randn(12, GATES[cell] * WIDTH, dtype=torch.float64, requires_grad=True)
    u_2GH = torch.randn(2, GATES[cell] * WIDTH, WIDTH, dtype=torch.float64, requires_grad=True)
    ours_TH = recur(cell, wx_TG[:, None], u_2GH, torch.tensor([12]), CLIP)[:, 0]
    expected_TH = both_directions(cell, wx_TG, u_2GH)
    if cell == "rnn":
        assert bool((expected_TH == 0).any()) and bool((expected_TH == 2 * CLIP).any())
    torch.testing.assert_close(ours_TH, expected_TH, rtol=1e-10, atol=1e-10)
    weight = torch.linspace(-1, 2, ours_TH.numel(), dtype=torch.float64).view_as(ours_TH)
    found, expected = (torch.autograd.grad((h * weight).sum(), (wx_TG, u_2GH)) for h in (ours_TH, expected_TH))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_row_convolution_sees_tau_future_frames_and_no_more():
    torch.manual_seed(3)
    layer = RowConvolution(WIDTH, 19).double()
    torch.nn.init.normal_(layer.weight_HJ)
    hidden_SBH = torch.randn(60, 2, WIDTH, dtype=torch.float64, requires_grad=True)
    layer(hidden_SBH)[30, 0].sum().backward()
    seen_S = hidden_SBH.grad[:, 0].any(-1).nonzero().flatten().tolist()
    assert seen_S == list(range(30, 50)) and not hidden_SBH.grad[:, 1].any()


def test_row_convolution_starts_as_if_it_were_not_there():
    hidden_SBH = torch.randn(7, 2, WIDTH)
    torch.testing.assert_close(RowConvolution(WIDTH, 3)(hidden_SBH), hidden_SBH)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("lookahead", [0, 3])
def test_a_unidirectional_network_hears_no_further_than_its_convolutions_and_tau(cell, lookahead):
    config = config_of(ConvConfig((32,), (5,), (1,), "1d"), cell=cell, bidirectional=False, lookahead=lookahead)
    model = make(config).eval()
    feats_BTF = torch.randn(1, 40, NUM_BINS, dtype=torch.float64, requires_grad=True)
    model(feats_BTF, torch.tensor([40]))[0][0, 20].square().sum().backward()
    heard_T = feats_BTF.grad[0].any(-1).nonzero().flatten().tolist()
    assert heard_T[0] == 0 and heard_T[-1] == 20 + lookahead + 2


def test_an_lstm_starts_with_its_forget_gates_half_open():
    for batch_norm in (True, False):
        layer = RecurrentLayer(3, config_of(cell="lstm", batch_norm=batch_norm))
        bias_GH = (layer.norm.beta if batch_norm else layer.input.bias).view(4, WIDTH)
        assert bool((bias_GH[2] == 1).all()) and not bool((bias_GH[[0, 1, 3]] == 1).any())
