"""The whole network: padding and batch order change nothing, in values and in gradients; it learns."""

import pytest
import torch
from torch.nn import functional as F

from ds2toolkit.config import ConvConfig, ModelConfig
from ds2toolkit.model.ctc import ctc_loss, greedy
from ds2toolkit.model.deepspeech2 import DeepSpeech2

NUM_BINS, NUM_TOKENS = 9, 5
CONFIG = ModelConfig(
    conv=ConvConfig(channels=(3, 4), kernels=((5, 3), (3, 5)), strides=((2, 2), (2, 1))),
    num_rnn_layers=3,
    rnn_size=8,
)
NUM_FRAMES = torch.tensor([40, 17, 33])


def make_model(dtype=torch.float64, seed=0):
    """A model whose running statistics have seen some (other) frames."""
    torch.manual_seed(seed)
    model = DeepSpeech2(CONFIG, NUM_BINS, NUM_TOKENS).to(dtype)
    with torch.no_grad():
        for _ in range(30):
            model(torch.randn(2, 30, NUM_BINS, dtype=dtype), torch.tensor([30, 25]))
    return model


def make_batch(dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(3, 40, NUM_BINS, dtype=dtype), torch.tensor([[1, 2, 2], [3, 4, 1], [4, 4, 4]])


def learn(model, feats_BTF, num_frames_B, targets_BU):
    """Log-probabilities cut to length, and the gradients of the summed loss."""
    model.zero_grad()
    log_probs_BSV, num_out_B = model(feats_BTF, num_frames_B)
    ctc_loss(log_probs_BSV, num_out_B, targets_BU, torch.full((len(targets_BU),), 3)).sum().backward()
    cut = [log_probs_SV[:num] for log_probs_SV, num in zip(log_probs_BSV.detach(), num_out_B)]
    return cut, {name: p.grad.clone() for name, p in model.named_parameters()}


def test_alone_and_in_a_padded_batch_values_and_gradients_agree():
    model, (feats_BTF, targets_BU) = make_model().eval(), make_batch()
    together, grads = learn(model, feats_BTF, NUM_FRAMES, targets_BU)
    total = {name: torch.zeros_like(grad) for name, grad in grads.items()}
    for b in range(3):
        num = NUM_FRAMES[b : b + 1]
        (alone,), share = learn(model, feats_BTF[b : b + 1, : int(num)], num, targets_BU[b : b + 1])
        torch.testing.assert_close(alone, together[b], rtol=0, atol=1e-9)
        total = {name: total[name] + share[name] for name in total}
    torch.testing.assert_close(grads, total, rtol=1e-9, atol=1e-9)
    assert all(grad.any() for grad in grads.values())


@pytest.mark.parametrize("training", [True, False])
def test_more_padding_of_any_kind_changes_nothing(training):
    model, (feats_BTF, targets_BU) = make_model().train(training), make_batch()
    before = learn(model, feats_BTF, NUM_FRAMES, targets_BU)
    padded = F.pad(feats_BTF, (0, 0, 0, 21))
    padded[torch.arange(61) >= NUM_FRAMES[:, None]] = float("nan")
    torch.testing.assert_close(learn(model, padded, NUM_FRAMES, targets_BU), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_the_order_of_the_batch_changes_nothing(training):
    model, (feats_BTF, targets_BU) = make_model().train(training), make_batch()
    before, grads = learn(model, feats_BTF, NUM_FRAMES, targets_BU)
    order = torch.tensor([2, 0, 1])
    after, turned = learn(model, feats_BTF[order], NUM_FRAMES[order], targets_BU[order])
    torch.testing.assert_close(after, [before[b] for b in order], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(turned, grads, rtol=1e-9, atol=1e-9)


def test_shapes_types_and_lengths():
    model, (feats_BTF, _) = make_model(torch.float32), make_batch(torch.float32)
    log_probs_BSV, num_out_B = model(feats_BTF, NUM_FRAMES)
    assert log_probs_BSV.shape == (3, 20, NUM_TOKENS) and model.time_stride == 2
    assert num_out_B.tolist() == model.num_out(NUM_FRAMES).tolist() == [20, 9, 17]
    torch.testing.assert_close(log_probs_BSV.exp().sum(-1), torch.ones(3, 20))


@pytest.mark.parametrize("training", [True, False])
def test_autocast_gives_float32_near_full_precision(training):
    model, (feats_BTF, _) = make_model(torch.float32).train(training), make_batch(torch.float32)
    exact, _ = model(feats_BTF, NUM_FRAMES)
    with torch.autocast("cpu", torch.bfloat16):
        low, _ = model(feats_BTF, NUM_FRAMES)
    assert exact.dtype == low.dtype == torch.float32
    assert 0 < (low - exact)[0].abs().max().item() < 0.1
    low.sum().backward()
    assert all(p.grad.dtype == torch.float32 and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_evaluation_after_training_on_the_same_batch_comes_to_the_same():
    model, (feats_BTF, _) = make_model(), make_batch()
    with torch.no_grad():
        for _ in range(300):
            trained, _ = model.train()(feats_BTF, NUM_FRAMES)
        torch.testing.assert_close(model.eval()(feats_BTF, NUM_FRAMES)[0], trained, rtol=1e-6, atol=1e-6)


def test_it_learns_three_utterances_by_heart():
    model, (feats_BTF, targets_BU) = make_model(torch.float32).train(), make_batch(torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        learn(model, feats_BTF, NUM_FRAMES, targets_BU)
        optimiser.step()
    assert greedy(*model(feats_BTF, NUM_FRAMES)) == targets_BU.tolist()


@pytest.mark.parametrize("num_frames", [[0, 1, 1], [41, 1, 1], [40, 40], [40]])
def test_lengths_that_do_not_fit(num_frames):
    feats_BTF, _ = make_batch()
    with pytest.raises(ValueError):
        make_model()(feats_BTF, torch.tensor(num_frames))
