"""A GPU at Deep Speech 2: a training step of the whole network, and one recurrent layer against torch's of cuDNN.

Run: python benchmarks/gpu.py [CELL ...]. The network has 2 convolutions and 5 bidirectional layers of 1280; 64
utterances of 8 s, random, all of a length. A step is forward, CTC loss, backward and SGD, bf16 autocast beside fp32;
three times the operations of a forward pass are counted for it. The peak is what a product of two bf16 matrices of
8192 x 8192 comes to in the same run. Medians of 5 after 3 to warm up.
"""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn

from ds2toolkit.config import ModelConfig
from ds2toolkit.model.ctc import ctc_loss
from ds2toolkit.model.deepspeech2 import DeepSpeech2
from ds2toolkit.model.recurrence import RecurrentLayer
from ds2toolkit.model.size import flops_a_second

NUM_UTTERANCES, SECONDS, WIDTH = 64, 8.0, 1280
FRAMES_A_SECOND, NUM_BINS, NUM_TOKENS, TOKENS_A_SECOND, PEAK_SIZE = 100, 161, 29, 12, 8192
PEERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def median_s(work: Callable[[], None], device: str) -> float:
    times_s = []
    for _ in range(8):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times_s.append(time.perf_counter() - started)
    return statistics.median(times_s[3:])


def autocast(device: str, precision: str):
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()


def peak_flops(device: str) -> float:
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * PEAK_SIZE**3 / median_s(lambda: a @ b, device)


def step(cell: str, device: str, precision: str) -> Callable[[], None]:
    model = DeepSpeech2(ModelConfig(cell=cell, rnn_size=WIDTH), NUM_BINS, NUM_TOKENS).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
    feats_BTF = torch.randn(NUM_UTTERANCES, round(SECONDS * FRAMES_A_SECOND), NUM_BINS, device=device)
    num_frames_B = torch.full((NUM_UTTERANCES,), feats_BTF.shape[1])
    targets_BU = torch.randint(1, NUM_TOKENS, (NUM_UTTERANCES, round(SECONDS * TOKENS_A_SECOND)))
    num_targets_B = torch.full((NUM_UTTERANCES,), targets_BU.shape[1])

    def work() -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, precision):
            log_probs_BSV, num_out_B = model(feats_BTF, num_frames_B)
        ctc_loss(log_probs_BSV, num_out_B, targets_BU, num_targets_B).mean().backward()
        optimiser.step()

    return work


def layer(module: nn.Module, device: str, precision: str, *lengths: torch.Tensor) -> Callable[[], None]:
    num_frames = round(SECONDS * FRAMES_A_SECOND / 2)
    x_TBH = torch.randn(num_frames, NUM_UTTERANCES, WIDTH, device=device, requires_grad=True)
    module.to(device)

    def work() -> None:
        with autocast(device, precision):
            out = module(x_TBH, *lengths)
        (out[0] if isinstance(out, tuple) else out).sum().backward()

    return work


def report(cell: str, precision: str, device: str, peak: float) -> str:
    model = DeepSpeech2(ModelConfig(cell=cell, rnn_size=WIDTH), NUM_BINS, NUM_TOKENS)
    speed = NUM_UTTERANCES * SECONDS / median_s(step(cell, device, precision), device)
    share = 3 * flops_a_second(model, FRAMES_A_SECOND) * speed / peak
    num_frames_B = torch.full((NUM_UTTERANCES,), round(SECONDS * FRAMES_A_SECOND / 2))
    ours = RecurrentLayer(WIDTH, ModelConfig(cell=cell, rnn_size=WIDTH, batch_norm=False))
    us_s = median_s(layer(ours, device, precision, num_frames_B), device)
    them_s = median_s(layer(PEERS[cell](WIDTH, WIDTH, bidirectional=True), device, precision), device)
    return (
        f"{cell:6}{precision:6}{speed:12.0f}{share:14.1%}{1000 * us_s:12.1f}{1000 * them_s:12.1f}{them_s / us_s:9.2f}x"
    )


def main(cells: list[str], device: str = "cuda") -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py needs a GPU that torch can use; benchmarks/train_step.py measures the CPU")
    peak = peak_flops(device)
    name = torch.cuda.get_device_name() if device == "cuda" else device
    print(f"torch {torch.__version__}, {name}, {peak / 1e12:.0f} TFLOP/s in bf16")
    print(f"{'':12}{'audio s / s':>12}{'of bf16 peak':>14}{'layer, ms':>12}{'torch, ms':>12}{'ratio':>10}")
    for cell in cells or PEERS:
        for precision in ("fp32", "bf16"):
            print(report(cell, precision, device, peak), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
