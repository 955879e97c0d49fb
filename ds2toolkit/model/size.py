"""How large a network is: the width for a number of parameters, and the operations for a second of audio."""

import bisect
from dataclasses import replace

import torch
from torch import nn

from ds2toolkit.config import ModelConfig
from ds2toolkit.errors import ConfigError
from ds2toolkit.model.deepspeech2 import DeepSpeech2

WIDTH_STEP = 8  # the matrix units of GPUs take whole eights
MAX_WIDTH = 16384


def solved(config: ModelConfig, num_bins: int, num_tokens: int) -> ModelConfig:
    """The configuration with the rnn_size (a multiple of 8) that comes nearest to its `params`, which is None then.

    Raises ConfigError where no width comes within a tenth of it.
    """
    if config.params is None:
        return config
    widths = range(WIDTH_STEP, MAX_WIDTH, WIDTH_STEP)

    def count(width: int) -> int:
        return num_parameters(outline(_as_wide(config, width), num_bins, num_tokens))

    place = bisect.bisect_left(widths, config.params, key=count)
    width = min(widths[max(place - 1, 0) : place + 1], key=lambda width: abs(count(width) - config.params))
    if abs(count(width) - config.params) > config.params / 10:
        raise ConfigError(
            f"no rnn_size gives {config.params / 1e6:g} M parameters: {width} gives {count(width) / 1e6:.2f} M, "
            "and the convolutions stay as they are"
        )
    return _as_wide(config, width)


def _as_wide(config: ModelConfig, width: int) -> ModelConfig:
    return replace(config, rnn_size=width, params=None)


def outline(config: ModelConfig, num_bins: int, num_tokens: int) -> DeepSpeech2:
    """The network without memory for its weights: shapes only."""
    with torch.device("meta"):
        return DeepSpeech2(config, num_bins, num_tokens)


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def flops_a_second(model: DeepSpeech2, frames_a_second: float) -> float:
    """Operations of a forward pass for a second of audio: two a multiply-add, those of products and convolutions."""
    total, num_bins = 0.0, model.conv.in_shape[1]
    for layer in model.conv.layers:
        frames_a_second /= layer.time_stride
        num_bins = -(-num_bins // layer.conv.stride[0])
        total += 2 * layer.conv.weight.numel() * num_bins * frames_a_second
    above = (part for part in (model.recurrent, model.lookahead, model.dense, model.output) if part is not None)
    matrices = (weight for part in above for weight in part.parameters() if weight.dim() > 1)
    return total + 2 * frames_a_second * sum(matrix.numel() for matrix in matrices)
