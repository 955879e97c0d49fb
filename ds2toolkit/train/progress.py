"""What a person sees of a training run: a progress bar, a line an epoch, a line a step on disk, TensorBoard curves."""

import json
import math
import time
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from ds2toolkit.files import write_text


class Progress:
    """One bar over the audio of all epochs, so that it knows the time left."""

    def __init__(self, folder: Path, total_s: float, done_s: float, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        self.steps = steps_file(folder / "steps.jsonl", step)
        self.bar = tqdm(
            total=round(total_s),
            initial=round(done_s),
            unit="s",
            mininterval=1.0,
            dynamic_ncols=True,
            disable=None,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_fmt} of audio, left {remaining}{postfix}",
        )
        self.dev = "-"
        self.since = time.monotonic()

    def step(self, step: int, epoch: int, audio_s: float, loss: float, norm: float, rate: float) -> None:
        now = time.monotonic()
        self.bar.set_description_str(f"epoch {epoch}", refresh=False)
        self.bar.set_postfix_str(f"loss {loss:.2f}, dev {self.dev}", refresh=False)
        self.bar.update(audio_s)
        speed = audio_s / max(now - self.since, 1e-9)
        self.since = now
        line = {"loss": loss, "gradient_norm": norm, "learning_rate": rate}
        for name, value in (line | {"audio_s_per_s": speed}).items():
            self.writer.add_scalar(f"train/{name}", value, step)
        finite = {name: value if math.isfinite(value) else None for name, value in line.items()}  # JSON has no NaN
        self.steps.write(json.dumps({"step": step, "epoch": epoch} | finite) + "\n")

    def epoch(self, step: int, line: dict[str, float]) -> None:
        self.dev = f"{line['dev_error_rate']:.1%}"
        for name in ("dev_loss", "dev_error_rate"):
            self.writer.add_scalar(f"dev/{name.removeprefix('dev_')}", line[name], step)
        self.say(
            f"epoch {line['epoch']:3d}  train loss {line['train_loss']:7.2f}  dev loss {line['dev_loss']:7.2f}  "
            f"dev error rate {line['dev_error_rate']:6.2%}  {line['seconds']:.0f} s"
        )
        self.since = time.monotonic()

    def say(self, text: str) -> None:
        self.bar.write(text)

    def close(self) -> None:
        self.bar.close()
        self.writer.close()
        self.steps.close()


class Silence:
    """What the other workers show of the run that the first one shows."""

    def __init__(self, *_: object):
        self.step = self.epoch = self.say = self.close = lambda *_: None


def steps_file(path: Path, step: int) -> TextIO:
    """steps.jsonl, to write on from a step: what a run that was killed wrote after its checkpoint is cut off."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    write_text(path, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))
    return path.open("a", encoding="utf-8", buffering=1)
