"""One recurrent layer, forward and backward: ours against torch.nn.RNN, GRU and LSTM, padded, fp32.

Run: python benchmarks/recurrence.py [T,B,H ...]. Both take (T, B, H) inputs of full length and make H units a
direction, products W x included. Ours shares W between directions, as Deep Speech 2 does, torch's does not.
Denormals are flushed for both. The two run in turn; the ratio is that of the medians of 5 after a run to warm up. Ends
with code 1 where GRU or LSTM is slower than torch's.
"""

import statistics
import sys
import time
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn

from ds2toolkit.config import ModelConfig
from ds2toolkit.model.recurrence import RecurrentLayer

SHAPES = ((200, 16, 512), (350, 16, 800))
PEERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def ours(cell: str, shape: tuple[int, int, int], both: bool) -> Callable[[Tensor], Tensor]:
    num_frames, num_utterances, width = shape
    layer = RecurrentLayer(width, ModelConfig(cell=cell, rnn_size=width, bidirectional=both, batch_norm=False))
    num_frames_B = torch.full((num_utterances,), num_frames)
    return lambda x_TBH: layer(x_TBH, num_frames_B)


def theirs(cell: str, shape: tuple[int, int, int], both: bool) -> Callable[[Tensor], Tensor]:
    width = shape[-1]
    nonlinearity = {"nonlinearity": "relu"} if cell == "rnn" else {}
    layer = PEERS[cell](width, width, bidirectional=both, **nonlinearity)
    for name, weight in layer.named_parameters():
        if name.startswith("weight_hh"):
            for part_HH in weight.data.split(width):
                nn.init.orthogonal_(part_HH)
    return lambda x_TBH: layer(x_TBH)[0]


def seconds(layer: Callable[[Tensor], Tensor], x_TBH: Tensor) -> float:
    started = time.perf_counter()
    layer(x_TBH).sum().backward()
    return time.perf_counter() - started


def compare(cell: str, shape: tuple[int, int, int], both: bool) -> float:
    """Prints a line; returns how many times as fast ours is."""
    torch.manual_seed(0)
    x_TBH = torch.randn(shape, requires_grad=True)
    layers = ours(cell, shape, both), theirs(cell, shape, both)
    for layer in layers:
        seconds(layer, x_TBH)
    runs = [[seconds(layer, x_TBH) for layer in layers] for _ in range(5)]
    us_s, them_s = (statistics.median(times) for times in zip(*runs))
    ways = "both directions" if both else "one direction"
    print(f"{cell:5}{ways:16}{shape!s:16}{1000 * us_s:9.0f}{1000 * them_s:10.0f}{them_s / us_s:10.2f}x", flush=True)
    return them_s / us_s


def main(arguments: list[str]) -> None:
    shapes = [tuple(map(int, argument.split(","))) for argument in arguments] or SHAPES
    torch.set_flush_denormal(True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'cell':21}{'(T, B, H)':16}{'ours, ms':>9}{'torch, ms':>10}{'ratio':>11}")
    slower = [
        f"{cell}, {'both directions' if both else 'one direction'}, {shape}"
        for shape, cell, both in product(shapes, PEERS, (False, True))
        if compare(cell, shape, both) < 1 and cell != "rnn"
    ]
    if slower:
        sys.exit(f"slower than torch's: {'; '.join(slower)}")


if __name__ == "__main__":
    main(sys.argv[1:])
