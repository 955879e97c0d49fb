"""Convolutions: each utterance gets in a padded batch what it gets alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ds2toolkit.config import ConvConfig, ModelConfig
from ds2toolkit.errors import ConfigError
from ds2toolkit.model.conv import ConvStack

CONFIG = ConvConfig(channels=(3, 4), kernels=((5, 3), (3, 5)), strides=((2, 2), (2, 1)))
NUM_BINS = 9


def make(config=CONFIG, num_bins=NUM_BINS, seed=0):
    torch.manual_seed(seed)
    conv = ConvStack(ModelConfig(conv=config, clip=1.0), num_bins).double().eval()
    for layer in conv.layers:
        layer.norm.running_mean.uniform_(-0.2, 0.2)
        layer.norm.running_var.uniform_(0.1, 0.5)
        torch.nn.init.uniform_(layer.norm.beta, 0.1, 0.5)
    return conv


def plain(conv, feats_TF):
    """One utterance through torch's own layers, no mask anywhere."""
    x = feats_TF.T[None, None]
    for layer in conv.layers:
        norm = layer.norm
        x = F.conv2d(x, layer.conv.weight, stride=layer.conv.stride, padding=layer.conv.padding)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.gamma, norm.beta, eps=norm.eps)
        x = x.clamp(0, layer.clip)
    return x[0].permute(2, 1, 0).flatten(1)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 5))
def test_padded_batch_equals_each_utterance_alone(num_frames, extra):
    conv, num_frames_B = make(), torch.tensor(num_frames)
    feats_BTF = torch.randn(len(num_frames), max(num_frames) + extra, NUM_BINS, dtype=torch.float64)
    padding = torch.arange(feats_BTF.shape[1]) >= num_frames_B[:, None]
    feats_BTF[padding] = float("nan")
    hidden_SBD, num_out_B = conv(feats_BTF, num_frames_B)
    assert num_out_B.tolist() == conv.num_out(num_frames_B).tolist()
    for b, num in enumerate(num_frames):
        alone_SD = plain(conv, feats_BTF[b, :num])
        assert len(alone_SD) == num_out_B[b]
        torch.testing.assert_close(hidden_SBD[: num_out_B[b], b], alone_SD, rtol=1e-9, atol=1e-9)
        assert not hidden_SBD[num_out_B[b]:, b].any()


@settings(deadline=None, max_examples=15)
@given(num_bins=st.integers(1, 40), num_frames=st.integers(1, 40), strides=st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3))
def test_sizes_follow_from_the_configuration(num_bins, num_frames, strides):
    num_layers = len(strides)
    config = ConvConfig((2,) * num_layers, ((5, 3),) * num_layers, tuple(strides))
    conv = make(config, num_bins)
    feats_BTF = torch.randn(1, num_frames, num_bins, dtype=torch.float64)
    hidden_SBD, num_out_B = conv(feats_BTF, torch.tensor([num_frames]))
    assert hidden_SBD.shape == (num_out_B.item(), 1, conv.out_size)
    assert num_out_B.item() * conv.time_stride >= num_frames > (num_out_B.item() - 1) * conv.time_stride


def test_the_papers_sizes():
    conv = ConvStack(ModelConfig(), num_bins=161)
    assert (conv.out_size, conv.time_stride) == (32 * 41, 2)


def test_training_statistics_count_unpadded_frames_only():
    feats_BTF = torch.randn(2, 20, NUM_BINS, dtype=torch.float64)
    num_frames_B = torch.tensor([20, 11])
    first, second = make().train(), make().train()
    first(feats_BTF, num_frames_B)
    second(F.pad(feats_BTF, (0, 0, 0, 13), value=7.0), num_frames_B)
    for one, other in zip(first.buffers(), second.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_activations_are_clipped():
    hidden_SBD, _ = make()(100 * torch.randn(1, 50, NUM_BINS, dtype=torch.float64), torch.tensor([50]))
    assert hidden_SBD.min() == 0 and hidden_SBD.max() == 1


@pytest.mark.parametrize("num_frames", [[0, 5], [6, 5]])
def test_lengths_out_of_range(num_frames):
    with pytest.raises(ValueError, match=r"1\.\.5"):
        make()(torch.zeros(2, 5, NUM_BINS, dtype=torch.float64), torch.tensor(num_frames))


def test_even_kernel_is_refused():
    with pytest.raises(ConfigError, match=r"\(5, 4\)"):
        make(ConvConfig((2,), ((5, 4),), ((1, 1),)))
