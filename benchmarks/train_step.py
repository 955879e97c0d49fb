"""One training step of Deep Speech 2 against two peers in one run: seconds, audio a second, share of the peak.

Run: python benchmarks/train_step.py [--deepspeech-pytorch DIR]. The network has 2 convolutions of 32 channels (41x11,
21x11) and 5 bidirectional simple RNNs of 800; the batch has 8 utterances of 5.6 to 7 s. A step is the forward pass, CTC,
the backward pass and SGD; denormals are flushed for all. Each of 5 rounds runs every peer once, after one to warm up;
figures are medians. GFLOP/s count the products and convolutions of unpadded frames, each network's own; the peak is
the best large matrix product in the rounds, in the precision of the row. Ends with code 1 when a target is missed.

"torch.nn.RNN" is this file's: the same convolutions, batch norm on each layer's input, torch.nn.RNN over padded
batches, directions summed. "deepspeech.pytorch" is that project's own model class with its simple RNN, from a checkout or
a bare git folder (--deepspeech-pytorch), else from a clone in ~/.cache/ds2toolkit, made at the first run. Of its package
the model module alone is loaded: its layers and its forward pass run as they are and need only torch. Whatever else
it imports has a minimal stand-in: Lightning's module is torch's, settings are plain values, decoders do nothing.
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ds2toolkit.config import ModelConfig
from ds2toolkit.model.conv import ConvStack
from ds2toolkit.model.deepspeech2 import DeepSpeech2

URL = "https://github.com/SeanNaren/deepspeech.pytorch"
CLONE = Path.home() / ".cache" / "ds2toolkit" / "deepspeech.pytorch"
ROUNDS, NUM_BINS, NUM_TOKENS, NUM_TARGETS = 5, 161, 29, 90
NUM_FRAMES, AUDIO_S = (700, 680, 660, 640, 620, 600, 580, 560), 50.4
CONFIG = ModelConfig(num_rnn_layers=5, rnn_size=800)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PEAK_SIZE = 8192 if DEVICE.type == "cuda" else 2048

LogProbs = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


class PaddedRNN(nn.Module):
    """The same convolutions, then batch norm and torch.nn.RNN over padding and all; directions summed."""

    def __init__(self) -> None:
        super().__init__()
        width = CONFIG.rnn_size
        self.conv = ConvStack(CONFIG, NUM_BINS)
        sizes = [self.conv.out_size] + [width] * (CONFIG.num_rnn_layers - 1)
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in sizes)
        self.layers = nn.ModuleList(nn.RNN(size, width, nonlinearity="relu", bidirectional=True) for size in sizes)
        for name, weight in self.layers.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(weight)
        self.output = nn.Linear(width, NUM_TOKENS)

    def forward(self, feats_BTF: Tensor, num_frames_B: Tensor) -> tuple[Tensor, Tensor]:
        x_SBD, num_out_B = self.conv(feats_BTF, num_frames_B)
        for norm, layer in zip(self.norms, self.layers):
            both_SBH2 = layer(norm(x_SBD.flatten(0, 1)).view(x_SBD.shape))[0]
            x_SBD = both_SBH2.unflatten(-1, (2, -1)).sum(-2)
        return self.output(x_SBD).log_softmax(-1).transpose(0, 1), num_out_B


def own(model: nn.Module, feats_BTF: Tensor, num_frames_B: Tensor) -> tuple[Tensor, Tensor]:
    return model(feats_BTF, num_frames_B)


def as_deepspeech_pytorch_trains(model: nn.Module, feats_BTF: Tensor, num_frames_B: Tensor) -> tuple[Tensor, Tensor]:
    logits_BSV, num_out_B, _ = model(feats_BTF.transpose(1, 2).unsqueeze(1), num_frames_B)
    return logits_BSV.log_softmax(-1), num_out_B


def deepspeech_pytorch(folder: Path) -> nn.Module:
    """That project's DeepSpeech, from the text of its model module."""

    class Settings(SimpleNamespace):
        pass

    class Lightning(nn.Module):
        def save_hyperparameters(self) -> None:
            pass

    def nothing(*_: object, **__: object) -> None:
        pass

    package, config = "deepspeech_pytorch", "SpectConfig BiDirectionalConfig OptimConfig AdamConfig SGDConfig"
    stand_ins = {
        "pytorch_lightning": {"LightningModule": Lightning},
        "omegaconf": {"OmegaConf": SimpleNamespace(get_type=type)},
        f"{package}.configs.train_config": {name: Settings for name in config.split()} | {"UniDirectionalConfig": int},
        f"{package}.decoder": {"GreedyDecoder": nothing},
        f"{package}.validation": {"CharErrorRate": nothing, "WordErrorRate": nothing},
    }
    modules = {name: ModuleType(name) for name in stand_ins}
    for name, contents in stand_ins.items():
        vars(modules[name]).update(contents)
    module = ModuleType(f"{package}.model")
    with patch.dict(sys.modules, modules):
        exec(compile(model_source(folder), f"{folder}: {package}/model.py", "exec"), vars(module))
    cell = Settings(rnn_type=Settings(value=nn.RNN), hidden_size=CONFIG.rnn_size, hidden_layers=CONFIG.num_rnn_layers)
    labels = ["_", *map(str, range(1, NUM_TOKENS))]
    return module.DeepSpeech(labels, cell, 32, Settings(), Settings(sample_rate=16000, window_size=0.02))


def model_source(folder: Path) -> str:
    path = "deepspeech_pytorch/model.py"
    if (folder / path).is_file():
        return (folder / path).read_text(encoding="utf-8")
    git_dir = folder / ".git" if (folder / ".git").exists() else folder
    command = ["git", f"--git-dir={git_dir}", "show", f"HEAD:{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def cloned() -> Path | None:
    """The clone in the user's cache folder, made where it is not there; None where it can't be had."""
    if not CLONE.exists():
        CLONE.parent.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["git", "clone", "--bare", "--depth=1", URL, CLONE], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return CLONE


class Peer:
    """A network in training. seconds: one a round."""

    def __init__(self, name: str, model: nn.Module, log_probs: LogProbs = own, bf16: bool = False):
        self.name, self.log_probs, self.bf16 = name, log_probs, bf16
        self.model = model.to(DEVICE).train()
        self.optimiser = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
        self.seconds: list[float] = []

    def step(self, feats_BTF: Tensor, num_frames_B: Tensor, targets_BU: Tensor, num_targets_B: Tensor) -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16) if self.bf16 else nullcontext():
            log_probs_BSV, num_out_B = self.log_probs(self.model, feats_BTF, num_frames_B)
        log_probs_SBV = log_probs_BSV.transpose(0, 1).float()
        loss = F.ctc_loss(log_probs_SBV, targets_BU, num_out_B, num_targets_B, reduction="sum")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def gflops(self) -> float:
        """Work of a step on unpadded frames: forward, and as much for either gradient, which the input needs not."""
        num_out = sum(NUM_FRAMES) / 2
        kernels = [weight.numel() for weight in self.model.parameters() if weight.dim() == 4]
        above = sum(weight.numel() for weight in self.model.parameters() if weight.dim() in (2, 3))
        first, second = (kernel * math.ceil(NUM_BINS / stride) for kernel, stride in zip(kernels, (2, 4)))
        return 2 * num_out * (2 * first + 3 * second + 3 * above) / 1e9


def seconds(job: Callable[..., object], *arguments: Tensor) -> float:
    started = time.perf_counter()
    job(*arguments)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_gflops(dtype: torch.dtype) -> float:
    """The best of several products of large matrices."""
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE, device=DEVICE).to(dtype).unbind()
    return 2 * PEAK_SIZE**3 / 1e9 / min(seconds(torch.mm, left, right) for _ in range(4))


def measure(peers: list[Peer]) -> dict[bool, float]:
    """Fill in the peers' seconds; returns the peaks, in GFLOP/s, by whether they are bf16's."""
    num_frames_B = torch.tensor(NUM_FRAMES, device=DEVICE)
    feats_BTF = torch.randn(len(NUM_FRAMES), max(NUM_FRAMES), NUM_BINS, device=DEVICE)
    targets_BU = torch.randint(1, NUM_TOKENS, (len(NUM_FRAMES), NUM_TARGETS), device=DEVICE)
    num_targets_B = torch.full_like(num_frames_B, NUM_TARGETS)
    peaks = {False: 0.0, True: 0.0}
    for warm in range(ROUNDS + 1):
        for bf16, dtype in ((False, torch.float32), (True, torch.bfloat16)):
            peaks[bf16] = max(peaks[bf16], peak_gflops(dtype))
        for peer in peers:
            taken_s = seconds(peer.step, feats_BTF, num_frames_B, targets_BU, num_targets_B)
            peer.seconds += [taken_s] if warm else []
    return peaks


def report(peers: list[Peer], peaks: dict[bool, float]) -> list[str]:
    """Print the table and what is held to a target; returns the targets missed."""
    print(f"{'':22}{'step, s':>9}{'audio s/s':>11}{'x ours fp32':>13}{'x ours bf16':>13}{'GFLOP/s':>9}{'of peak':>9}")
    by_name = {peer.name: peer for peer in peers}
    fp32, bf16 = by_name["ours, fp32"], by_name["ours, bf16"]
    share = {peer: peer.gflops() / peer.median_s / peaks[peer.bf16] for peer in peers}
    for p in peers:
        times = f"{p.median_s / fp32.median_s:12.2f}x{p.median_s / bf16.median_s:12.2f}x"
        speed = f"{p.gflops() / p.median_s:9.0f}{share[p]:9.0%}"
        print(f"{p.name:22}{p.median_s:9.3f}{AUDIO_S / p.median_s:11.1f}{times}{speed}")
    print(f"peak of matrix products, GFLOP/s: fp32 {peaks[False]:.0f}, bf16 {peaks[True]:.0f}")
    if DEVICE.type == "cuda":
        return []
    goals = [("fp32 against torch.nn.RNN", by_name["torch.nn.RNN"].median_s / fp32.median_s, 1.7),
             ("bf16 against torch.nn.RNN", by_name["torch.nn.RNN"].median_s / bf16.median_s, 2.4),
             ("share of the fp32 peak", share[fp32], 0.7)]
    if other := by_name.get("deepspeech.pytorch"):
        goals.append(("bf16 against deepspeech.pytorch", other.median_s / bf16.median_s, 4.0))
    for name, figure, least in goals:
        print(f"{'pass' if figure >= least else 'FAIL'}  {name}: {figure:.2f} (target: at least {least})")
    return [name for name, figure, least in goals if figure < least]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--deepspeech-pytorch", type=Path, metavar="DIR", help="its checkout or bare git folder")
    folder = parser.parse_args().deepspeech_pytorch or cloned()
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    peers = [Peer("ours, fp32", DeepSpeech2(CONFIG, NUM_BINS, NUM_TOKENS)),
             Peer("ours, bf16", DeepSpeech2(CONFIG, NUM_BINS, NUM_TOKENS), bf16=True),
             Peer("torch.nn.RNN", PaddedRNN())]
    if folder:
        peers.append(Peer("deepspeech.pytorch", deepspeech_pytorch(folder), as_deepspeech_pytorch_trains))
    else:
        print(f"deepspeech.pytorch is left out: {URL} can't be cloned; name a copy with --deepspeech-pytorch DIR")
    print(f"torch {torch.__version__}, {DEVICE.type}, {torch.get_num_threads()} threads")
    if missed := report(peers, measure(peers)):
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
