"""Epochs of training: the share of the time spent waiting for data, padding, epoch 1 against epoch 2.

Run: python benchmarks/epoch.py [--recipe DIR] [--conf NAME]. Padding is that of whole epochs over the recipe's training
utterances, or over made-up durations like those of AN4 (at three speeds) and of LibriSpeech's 960 hours, in batches of
64 and 1,200 s. Two epochs over about half an hour of audio are then trained by the recipe's configuration: on the
recipe's stored features (after stage 2), or on made-up ones in memory. An epoch's time is without the dev set; a batch
is waited for from the end of a step until it is there. Ends with code 1 when a target is missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lhotse import MonoCut, SupervisionSegment

from ds2toolkit import recipe as recipes
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig
from ds2toolkit.data.batch import Batch, Utterances
from ds2toolkit.data.features import num_bins
from ds2toolkit.data.order import epoch_batches
from ds2toolkit.data.packed import Cuts
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.train.loop import Run
from ds2toolkit.verbs import train as verb

AUDIO_S, NUM_DEV = 1800, 8
MOST_WAITING, MOST_PADDING, MOST_PADDING_SORTED, MOST_DIFFERENCE = 0.02, 0.05, 0.02, 0.10
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Watched(Run):
    """Notes the seconds of each epoch's steps, and those in which it waited for a batch."""

    def __init__(self, *parts: object):
        super().__init__(*parts)
        self.waited_s: list[float] = []
        self.taken_s: list[float] = []

    def batches(self) -> Iterator[tuple[Batch, float]]:
        started, waited_s, rest = time.monotonic(), 0.0, super().batches()
        while True:
            asked = time.monotonic()
            item = next(rest, None)
            waited_s += time.monotonic() - asked
            if item is None:
                break
            yield item
        self.waited_s.append(waited_s)
        self.taken_s.append(time.monotonic() - started)


class MadeUp(Utterances):
    """Utterances whose features are cut from one block of noise."""

    def load(self, cut: MonoCut, seed: int | None) -> np.ndarray:
        return self.block_TF[: round(cut.duration / self.features.shift_s)]

    @property
    def block_TF(self) -> np.ndarray:
        if not hasattr(self, "_block_TF"):
            self._block_TF = np.random.default_rng(0).normal(size=(4000, num_bins(self.features))).astype(np.float32)
        return self._block_TF


def an4_s() -> np.ndarray:
    """948 utterances, 50 minutes, at three speeds."""
    durations_s = np.random.default_rng(0).lognormal(1.0, 0.5, 948).clip(0.6, 7.0)
    return np.concatenate([durations_s / speed for speed in (0.9, 1.0, 1.1)])


def librispeech_s() -> np.ndarray:
    """281,241 utterances, 960 hours: most of 12 to 16 s, the rest shorter."""
    rng = np.random.default_rng(0)
    long = rng.random(281_241) < 0.66
    return np.where(long, rng.normal(14.5, 1.1, len(long)), rng.uniform(1.5, 13.0, len(long))).clip(1.3, 24.5)


def padding(durations_s: np.ndarray, budget_s: float, epoch: int) -> float:
    """The share of an epoch's frames that are padding."""
    batches = epoch_batches(durations_s, budget_s, epoch, seed=0)
    padded_s = sum(durations_s[batch].max() * len(batch) for batch in batches)
    return 1 - durations_s.sum() / padded_s


def cut(number: int, duration_s: float) -> MonoCut:
    letters = np.random.default_rng(number).choice(list(LETTERS), max(1, int(8 * duration_s)))
    text = SupervisionSegment(str(number), str(number), 0.0, duration_s, text="".join(letters))
    return MonoCut(str(number), start=0.0, duration=duration_s, channel=0, supervisions=[text])


def sample(durations_s: np.ndarray) -> np.ndarray:
    """Places of about AUDIO_S seconds of them, drawn evenly."""
    places = np.random.default_rng(0).permutation(len(durations_s))
    return places[: np.searchsorted(durations_s[places].cumsum(), AUDIO_S)]


def made_up(conf: str) -> tuple[Recogniser, Utterances, Utterances]:
    config = recipes.training(conf, ["num_epochs=2"])
    vocabulary, features = Vocabulary(("<blk>", " ", *LETTERS)), FeatureConfig(mean_variance="utterance")
    recogniser = Recogniser.new(config, vocabulary, features, None, "english", "word")
    durations_s = an4_s()
    cuts = Cuts.of(cut(int(place), float(durations_s[place])) for place in sample(durations_s))
    settings = vocabulary, features, None
    return recogniser, MadeUp(cuts, *settings, config.spec_augment), MadeUp(cuts[:NUM_DEV], *settings)


def of_recipe(folder: Path, conf: str | None) -> tuple[Recogniser, Utterances, Utterances]:
    recipe = recipes.load(folder)
    recogniser = verb.new_recogniser(recipe, recipe.training(conf, ["num_epochs=2"]))
    train = verb.utterances(recipe, recogniser, recipe.config.splits.train, training=True)
    dev = verb.utterances(recipe, recogniser, recipe.config.splits.dev, training=False)
    dev.cuts = dev.cuts[:NUM_DEV]
    return recogniser, train, dev


def trained(recogniser: Recogniser, train: Utterances, dev: Utterances) -> Watched:
    train.cuts = train.cuts.take(sample(train.durations_s))
    with tempfile.TemporaryDirectory() as folder:
        run = Watched(Path(folder), recogniser, train, dev)
        run.run()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", type=Path, metavar="DIR", help="a recipe whose features are there (default: made up)")
    parser.add_argument("--conf", metavar="NAME", help="training configuration (default: the recipe's, or small)")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    parts = of_recipe(options.recipe, options.conf) if options.recipe else made_up(options.conf or "small")
    if options.recipe:
        corpora = {options.recipe.name: (parts[1].durations_s, parts[0].training.batches.budget_s)}
    else:
        corpora = {"like AN4": (an4_s(), 64.0), "like LibriSpeech": (librispeech_s(), 1200.0)}
    figures = []
    for name, (durations_s, budget_s) in corpora.items():
        figures.append((f"padding, SortaGrad epoch, {name}", padding(durations_s, budget_s, 1), MOST_PADDING_SORTED))
        figures.append((f"padding, shuffled epoch, {name}", padding(durations_s, budget_s, 2), MOST_PADDING))
    run = trained(*parts)
    for epoch, (waited_s, taken_s) in enumerate(zip(run.waited_s, run.taken_s), 1):
        print(f"epoch {epoch}: {taken_s:.1f} s, of which {waited_s:.2f} s waiting for data")
    first_s, second_s = run.taken_s
    figures.append(("waiting for data", sum(run.waited_s) / sum(run.taken_s), MOST_WAITING))
    figures.append(("epoch 1 against epoch 2", abs(first_s / second_s - 1), MOST_DIFFERENCE))
    for name, figure, most in figures:
        print(f"{'pass' if figure <= most else 'FAIL'}  {name}: {figure:.2%} (target: at most {most:.0%})")
    if missed := [name for name, figure, most in figures if figure > most]:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
