"""Training: epochs of batches, a dev error rate after each, checkpoints to go on from, bit by bit, where it stopped."""

import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ds2toolkit import checkpoint, workers
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.data.batch import Batch, Utterances, derived_seed
from ds2toolkit.data.order import epoch_batches
from ds2toolkit.errors import UserError
from ds2toolkit.files import write_text
from ds2toolkit.train.average import Average
from ds2toolkit.train.curves import draw
from ds2toolkit.train.evaluate import evaluate
from ds2toolkit.train.faults import MAX_BAD_STEPS, advice, fault
from ds2toolkit.train.loading import Left, loader
from ds2toolkit.train.memory import Trial, fitting_budget
from ds2toolkit.train.objective import losses, put_back, statistics
from ds2toolkit.train.optimiser import optimiser, set_learning_rate
from ds2toolkit.train.progress import Progress, Silence
from ds2toolkit.train.schedule import learning_rate
from ds2toolkit.train.state import State, since_best

DROPOUT = 2  # tells a step's seed from those of its utterances


class Run:
    """A training run in an experiment folder: writes last.pt, best.pt, history.jsonl, steps.jsonl, TensorBoard curves.

    Whatever is random in a step is a function of the seed, the epoch and its place, so a run that was killed and goes
    on from last.pt takes the same steps as one that was not. Of several workers each takes its share of every batch; all
    know the same state and weights, and the first writes.
    """

    def __init__(self, folder: Path, recogniser: Recogniser, train: Utterances, dev: Utterances):
        self.folder, self.recogniser, self.train, self.dev = folder, recogniser, train, dev
        self.config = recogniser.training
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = recogniser.model.to(self.device)
        self.optimiser = optimiser(self.config.optimiser, self.model.parameters())
        decay = self.config.average.decay
        self.average = Average(self.model, decay) if decay else None
        self.state = State()
        self.left = Left(self.config.seed)
        self.say = print

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    @cached_property
    def durations_s(self) -> np.ndarray:
        return self.train.durations_s

    @property
    def budget_s(self) -> float:
        """The padded seconds of a batch: as configured, or as fits into memory."""
        return self.state.budget_s or self.config.batches.budget_s

    def resume(self) -> bool:
        """Go on from last.pt where there is one, from the one before it where that is damaged.

        Raises UserError when it was trained with other settings, DataError when both are damaged.
        """
        with workers.first_then_others():
            found = checkpoint.load_last(self.last)
        if found is None:
            return False
        recogniser, state = found
        if not recogniser.same_setting(self.recogniser):
            raise UserError(
                f"{self.folder} was trained with other settings or on other data.\n"
                "Choose another folder with --exp NAME, or begin again with --restart."
            )
        self.model.load_state_dict(recogniser.model.state_dict())
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.state = State.of(state)
        self.write_history()  # it ended before this was done, perhaps
        return True

    def finished(self) -> bool:
        return self.state.epoch > self.config.num_epochs or self.stopped_early()

    def stopped_early(self) -> bool:
        return 0 < self.config.early_stop_epochs <= since_best(self.state.history)

    def run(self) -> None:
        """Train until the last epoch is done. Ctrl-C keeps the state."""
        total_s = float(self.durations_s.sum()) * self.config.num_epochs
        show = Silence if workers.rank() else Progress
        self.progress = show(self.folder, total_s, self.state.audio_s, self.state.step)
        self.say = self.progress.say
        try:
            self.fit_budget()
            while not self.finished():
                self.epoch(total_s)
        except KeyboardInterrupt:
            self.say("interrupted; the same command goes on from the last checkpoint")
            raise
        finally:
            self.progress.close()

    def fit_budget(self) -> None:
        """Find out, before the first step, what fits into memory; a run that goes on keeps what was found."""
        if not self.state.step and not self.state.budget_s:
            trial = Trial(self.model, self.train, self.config, workers.count(), workers.count_here())
            with workers.apart():
                budget_s = fitting_budget(trial, self.config.batches.budget_s, self.say)
            self.state.budget_s = workers.lowest(budget_s)

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
        c, count = self.config, workers.count()
        every = epoch_batches(self.durations_s, self.budget_s, self.state.epoch, c.seed, c.batches.sortagrad, at_least=count)
        self.left.epoch, self.left.batches = self.state.epoch, every[self.state.batch :]
        try:
            for indices, batch in zip(self.left.batches, self.loader, strict=True):
                yield batch, float(self.durations_s[indices].sum())
        except UserError as error:  # a worker process puts its traceback before the message
            raise UserError(str(error).rpartition(f"{type(error).__name__}: ")[2]) from None

    @cached_property
    def loader(self) -> Iterable[Batch]:
        return loader(self.train, self.left, self.config.batches.num_workers)

    def step(self, batch: Batch, progress: float) -> tuple[float, float, float]:
        """One step down the gradient: (loss per utterance, gradient norm before clipping, learning rate).

        Where the loss or the gradient is not finite nothing changes. Raises UserError when that goes on.
        """
        c, s = self.config.optimiser, self.state
        torch.manual_seed(derived_seed(self.config.seed, s.epoch, s.batch, DROPOUT + workers.rank()))
        rate = learning_rate(c, s, progress)
        set_learning_rate(self.optimiser, rate)
        before = statistics(self.model)
        self.optimiser.zero_grad(set_to_none=True)
        losses_B = losses(self.model, batch, self.config.precision)[0]
        total = losses_B.sum()
        loss_sum, num_utterances = workers.pooled(torch.stack([total.detach(), total.new_tensor(len(losses_B))]))
        (total if c.loss_reduction == "sum" else total / num_utterances).backward()
        workers.pool_gradients(self.model.parameters())
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.max_gradient_norm))
        loss = float(loss_sum / num_utterances)
        if math.isfinite(norm) and math.isfinite(loss):
            self.take_step(loss, int(num_utterances))
        else:
            put_back(self.model, before)
            self.skip_step(fault(batch, losses_B.detach()))
        return loss, norm, rate

    def take_step(self, loss: float, num_utterances: int) -> None:
        self.optimiser.step()
        if self.average:
            self.average.update()
        self.state.bad_steps = 0
        self.state.loss_sum += loss * num_utterances
        self.state.num_utterances += num_utterances

    def skip_step(self, reason: str) -> None:
        self.state.bad_steps += 1
        self.say(f"step {self.state.step + 1} skipped: {reason}")
        if self.state.bad_steps >= MAX_BAD_STEPS:
            raise UserError(advice(reason, self.config.optimiser))

    def end_epoch(self) -> None:
        """Measure on the dev set, averaged weights where there are any, and keep them as `keep` says."""
        s = self.state
        line = {"epoch": s.epoch, "train_loss": s.loss_sum / max(s.num_utterances, 1)}
        s.epoch, s.batch, s.loss_sum, s.num_utterances = s.epoch + 1, 0, 0.0, 0
        with self.average.in_place() if self.average else nullcontext():
            dev_loss, counts = evaluate(self.recogniser, self.dev, self.budget_s)
            line |= {"dev_loss": dev_loss, "dev_error_rate": counts.rate, "seconds": s.seconds}
            s.history.append(line)
            if since_best(s.history) == 0 or self.config.keep == "last":
                self.save(self.folder / "best.pt")
        self.save_last()
        self.report(line)

    def write_history(self) -> None:
        if workers.rank():
            return
        write_text(self.folder / "history.jsonl", "".join(json.dumps(one) + "\n" for one in self.state.history))

    def report(self, line: dict[str, float]) -> None:
        if workers.rank():
            return
        self.write_history()
        draw(self.state.history, self.folder / "curves.png")
        self.progress.epoch(self.state.step, line)
        if self.stopped_early():
            self.say(f"stopped early: no new best on the dev set for {self.config.early_stop_epochs} epochs")

    def save_last(self) -> None:
        if not workers.rank():
            checkpoint.keep_previous(self.last)
        self.save(self.last)

    def save(self, path: Path) -> None:
        if workers.rank():
            return
        state: dict[str, Any] = dict(vars(self.state), optimiser=self.optimiser.state_dict())
        checkpoint.save(path, self.recogniser, state | {"average": self.average and self.average.state_dict()})
