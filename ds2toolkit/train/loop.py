"""Training: epochs of batches, a dev error rate after each, checkpoints to go on from, bit by bit, where it stopped."""

import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.data.batch import Batch, Utterances, derived_seed
from ds2toolkit.data.order import epoch_batches
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import write_text
from ds2toolkit.model.ctc import ctc_loss, greedy
from ds2toolkit.score.align import ErrorCounts, count_errors
from ds2toolkit.train.curves import draw
from ds2toolkit.train.optimiser import learning_rate, optimiser, set_learning_rate
from ds2toolkit.train.progress import Progress

MAX_BAD_STEPS = 20


@dataclass
class State:
    """Where a run is: everything but the weights and the optimiser, as plain values."""

    epoch: int = 1
    batch: int = 0
    step: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    loss_sum: float = 0.0
    num_utterances: int = 0
    bad_steps: int = 0
    best: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)


class Run:
    """A training run in an experiment folder: writes last.pt, best.pt, history.jsonl and TensorBoard curves.

    Any batch's content is a function of the seed, the epoch and its place, so a run that was killed and goes on from
    last.pt takes the same steps as one that was not.
    """

    def __init__(self, folder: Path, recogniser: Recogniser, train: Utterances, dev: Utterances):
        self.folder, self.recogniser, self.train, self.dev = folder, recogniser, train, dev
        self.config = recogniser.training
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = recogniser.model.to(self.device)
        self.optimiser = optimiser(self.config.optimiser, self.model.parameters())
        self.state = State()

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the last one."""
        return self.folder / "previous.pt"

    @cached_property
    def durations_s(self) -> np.ndarray:
        return self.train.durations_s

    def resume(self) -> bool:
        """Go on from last.pt where there is one, from the one before it where that is damaged.

        Raises UserError when it was trained with other settings, DataError when both are damaged.
        """
        if not (found := [path for path in (self.last, self.previous) if path.exists()]):
            return False
        recogniser, state = self.load_first(found)
        if not recogniser.same_setting(self.recogniser):
            raise UserError(
                f"{self.folder} was trained with other settings or on other data.\n"
                "Choose another folder with --exp NAME, or begin again with --restart."
            )
        self.model.load_state_dict(recogniser.model.state_dict())
        self.optimiser.load_state_dict(state.pop("optimiser"))
        self.state = State(**state)
        return True

    def load_first(self, paths: list[Path]) -> tuple[Recogniser, dict[str, Any]]:
        """The first checkpoint that is whole; a damaged one gives way to the one before it."""
        for path, other in pairwise(paths):
            try:
                return checkpoint.load(path)
            except DataError as error:
                print(f"{error}\nGoing on from {other.name}, the one before it.")
        found = checkpoint.load(paths[-1])
        paths[-1].replace(self.last)
        return found

    def finished(self) -> bool:
        return self.state.epoch > self.config.num_epochs

    def run(self) -> None:
        """Train until the last epoch is done. Ctrl-C keeps the state."""
        total_s = float(self.durations_s.sum()) * self.config.num_epochs
        self.progress = Progress(self.folder, total_s, self.state.audio_s, self.state.step)
        try:
            while not self.finished():
                self.epoch(total_s)
        except KeyboardInterrupt:
            self.progress.say("interrupted; the same command goes on from the last checkpoint")
            raise
        finally:
            self.progress.close()

    def epoch(self, total_s: float) -> None:
        self.model.train()
        saved = started = time.monotonic()
        before_s = self.state.seconds
        for batch, audio_s in self.batches():
            loss, norm, rate = self.step(batch, self.state.audio_s / total_s)
            self.state.batch += 1
            self.state.step += 1
            self.state.audio_s += audio_s
            self.state.seconds = before_s + time.monotonic() - started
            self.progress.step(self.state.step, self.state.epoch, audio_s, loss, norm, rate)
            if time.monotonic() - saved > self.config.save_every_s:
                self.save_last()
                saved = time.monotonic()
        self.end_epoch()

    def batches(self) -> Iterator[tuple[Batch, float]]:
        """The rest of this epoch's batches, with the seconds of audio in each."""
        c, epoch = self.config, self.state.epoch
        rest = epoch_batches(self.durations_s, c.batches.budget_s, epoch, c.seed, c.batches.sortagrad)
        rest = rest[self.state.batch :]
        keys = ([(i, derived_seed(c.seed, epoch, i)) for i in batch] for batch in rest)
        loader = DataLoader(
            self.train, batch_sampler=keys, collate_fn=Batch.of, num_workers=c.batches.num_workers,
            prefetch_factor=4 if c.batches.num_workers else None,
        )  # fmt: skip
        try:
            for indices, batch in zip(rest, loader, strict=True):
                yield batch, float(self.durations_s[indices].sum())
        except UserError as error:  # a worker process puts its traceback before the message
            raise UserError(str(error).rpartition(f"{type(error).__name__}: ")[2]) from None

    def autocast(self):
        bf16 = self.config.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext()

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with self.autocast():
            log_probs_BSV, num_out_B = self.model(batch.feats_BTF.to(self.device), batch.num_frames_B.to(self.device))
        targets_BU, num_targets_B = batch.targets_BU.to(self.device), batch.num_targets_B.to(self.device)
        return ctc_loss(log_probs_BSV, num_out_B, targets_BU, num_targets_B), log_probs_BSV, num_out_B

    def step(self, batch: Batch, progress: float) -> tuple[float, float, float]:
        """One step down the gradient: (loss per utterance, gradient norm before clipping, learning rate)."""
        c = self.config.optimiser
        rate = learning_rate(c, self.state.epoch, progress)
        set_learning_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        losses_B = self.losses(batch)[0]
        (losses_B.sum() if c.loss_reduction == "sum" else losses_B.mean()).backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.max_gradient_norm))
        loss = float(losses_B.detach().mean())
        if math.isfinite(norm) and math.isfinite(loss):
            self.optimiser.step()
            self.state.bad_steps = 0
            self.state.loss_sum += loss * len(losses_B)
            self.state.num_utterances += len(losses_B)
        else:
            self.skip_step(batch)
        return loss, norm, rate

    def skip_step(self, batch: Batch) -> None:
        self.state.bad_steps += 1
        self.progress.say(f"step {self.state.step}: loss or gradient not finite, step skipped; first {batch.ids[0]}")
        if self.state.bad_steps >= MAX_BAD_STEPS:
            raise UserError(
                f"{MAX_BAD_STEPS} steps in a row with a loss that is not finite: training has diverged.\n"
                "Begin again with a lower rate: --restart --set optimiser.learning_rate=..."
            )

    def end_epoch(self) -> None:
        line = {"epoch": self.state.epoch, "train_loss": self.state.loss_sum / max(self.state.num_utterances, 1)}
        dev_loss, counts = self.evaluate()
        line |= {"dev_loss": dev_loss, "dev_error_rate": counts.rate, "seconds": self.state.seconds}
        s = self.state
        s.history.append(line)
        s.epoch, s.batch, s.loss_sum, s.num_utterances = s.epoch + 1, 0, 0.0, 0
        if counts.rate < s.best:
            s.best = counts.rate
            self.save(self.folder / "best.pt")
        self.save_last()
        draw(s.history, self.folder / "curves.png")
        write_text(self.folder / "history.jsonl", "".join(json.dumps(one) + "\n" for one in s.history))
        self.progress.epoch(s.step, line)

    @torch.no_grad()
    def evaluate(self) -> tuple[float, ErrorCounts]:
        """Mean loss and greedy error rate on the dev set."""
        self.model.eval()
        texts = {cut.id: cut.supervisions[0].text for cut in self.dev.cuts}
        batches = epoch_batches(self.dev.durations_s, self.config.batches.budget_s, epoch=1, seed=0)
        losses, counts = [], ErrorCounts()
        for batch in DataLoader(self.dev, batch_sampler=batches, collate_fn=Batch.of):
            losses_B, log_probs_BSV, num_out_B = self.losses(batch)
            losses += losses_B[torch.isfinite(losses_B)].tolist()
            for name, ids in zip(batch.ids, greedy(log_probs_BSV, num_out_B), strict=True):
                hyp = self.recogniser.vocabulary.decode(ids)
                counts += count_errors(texts[name], hyp, self.recogniser.unit)
        self.model.train()
        return float(np.mean(losses)) if losses else math.inf, counts

    def save_last(self) -> None:
        """The one before stays under another name: the disk has both, and never none."""
        if self.last.exists():
            self.previous.unlink(missing_ok=True)
            try:
                os.link(self.last, self.previous)
            except OSError:  # a file system without links
                shutil.copyfile(self.last, self.previous)
        self.save(self.last)

    def save(self, path: Path) -> None:
        state: dict[str, Any] = dict(vars(self.state), optimiser=self.optimiser.state_dict())
        checkpoint.save(path, self.recogniser, state)
