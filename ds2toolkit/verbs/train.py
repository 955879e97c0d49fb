"""Stage `train`: train the network, or go on with a run that was stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut

from ds2toolkit import workers
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import TrainConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.batch import Utterances
from ds2toolkit.data.features import FeatureStats
from ds2toolkit.data.noise import NOISES, ROOMS, Noises
from ds2toolkit.data.packed import Cuts
from ds2toolkit.errors import DataError
from ds2toolkit.model.ctc import min_frames
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.train.loop import Run


def run(
    recipe: Recipe,
    conf: str | None,
    exp: str | None,
    restart: bool,
    settings: list[str],
    train_fraction: float | None = None,
) -> None:
    torch.set_flush_denormal(True)  # fading gradients of the recurrence make fp32 steps 5 to 12 times slower
    if train_fraction is not None:
        settings = [*settings, f"train_fraction={train_fraction}"]
    with workers.together():
        train(recipe, recipe.training(conf, settings), recipe.experiment(exp), restart)


def train(recipe: Recipe, config: TrainConfig, folder: Path, restart: bool) -> None:
    if restart and not workers.rank():
        shutil.rmtree(folder, ignore_errors=True)
    recogniser = new_recogniser(recipe, config)
    training = Run(
        folder,
        recogniser,
        utterances(recipe, recogniser, recipe.config.splits.train, training=True),
        utterances(recipe, recogniser, recipe.config.splits.dev, training=False),
    )
    folder.mkdir(parents=True, exist_ok=True)
    if training.resume():
        print(f"going on from {shown(training.last)}, epoch {training.state.epoch}")
    describe(training)
    training.run()
    of_last = config.keep == "last"
    rate = training.state.history[-1]["dev_error_rate"] if of_last else training.state.best
    print(f"{'last' if of_last else 'best'} dev error rate {rate:.2%} in {shown(folder / 'best.pt')}")


def new_recogniser(recipe: Recipe, config: TrainConfig) -> Recogniser:
    tokens = recipe.need(recipe.lang / "tokens.txt", "lang", "train")
    stats = None
    if recipe.config.features.mean_variance == "global":
        path = recipe.need(recipe.data / "stats.json", "features", "train")
        stats = FeatureStats.from_dict(json.loads(path.read_text(encoding="utf-8")))
    return Recogniser.new(
        config, Vocabulary.read(tokens), recipe.config.features, stats, recipe.config.language, recipe.config.unit
    )


def utterances(recipe: Recipe, recogniser: Recogniser, splits: tuple[str, ...], training: bool) -> Utterances:
    """The utterances of some splits; of those to train on, what CTC can't align is left out and counted."""
    paths = [recipe.need(recipe.featured_cuts(split), "features", "train") for split in splits]
    cuts = Cuts.joined([cut_files.read(path) for path in paths])
    settings = recogniser.vocabulary, recogniser.features, recogniser.stats
    if not training:
        return Utterances(cuts, *settings)
    whole, cuts = cuts, cuts.take(fraction(len(cuts), recogniser.training))
    if len(cuts) < len(whole):
        hours, all_hours = (part.durations_s.sum() / 3600 for part in (cuts, whole))
        print(f"training on {len(cuts):,d} of {len(whole):,d} utterances, {hours:.2f} of {all_hours:.2f} hours")
    fits = fitting(recogniser, cuts)
    if len(fits) < len(cuts):
        print(f"left out {len(cuts) - len(fits)} training utterances too short for their transcripts")
    if not len(fits):
        raise DataError("every training utterance is too short for its transcript")
    return Utterances(cuts.take(fits), *settings, recogniser.training.spec_augment, noises(recipe, recogniser, cuts[0]))


def fraction(num_utterances: int, config: TrainConfig) -> np.ndarray:
    """Places of the share of the training set that is asked for; a smaller share is part of a larger one."""
    size = max(1, round(config.train_fraction * num_utterances))
    return np.sort(np.random.default_rng(config.seed).permutation(num_utterances)[:size])


def fitting(recogniser: Recogniser, cuts: Cuts) -> np.ndarray:
    """Places of the utterances that CTC can align: it needs an output frame a target, one more between equal ones.

    Only the few in doubt are spelled: characters bound word pieces, of which a text has one more at the most.
    """
    num_frames = np.rint(cuts.durations_s / recogniser.features.shift_s).astype(int)
    num_out = -(-num_frames // recogniser.model.time_stride)
    fits = num_out > cuts.min_frames
    for place in np.flatnonzero(~fits):
        targets = recogniser.vocabulary.encode(cuts[place].supervisions[0].text)
        fits[place] = num_out[place] >= min_frames(targets)
    return np.flatnonzero(fits)


def noises(recipe: Recipe, recogniser: Recogniser, cut: Cut) -> Noises | None:
    """What is laid on training utterances where the configuration wants it; `cut`: one of them, whose audio it takes."""
    config = recogniser.training.noise
    folder = recipe.data / "noise"
    for name, fraction in ((NOISES, config.fraction), (ROOMS, config.reverb_fraction)):
        if fraction > 0:
            recipe.need(folder / name, "noise", "train")
    if not config.fraction > 0 and not config.reverb_fraction > 0:
        return None
    audio = Path(cut.recording.sources[0].source)
    if not audio.exists():
        raise DataError(f"noise is mixed with the audio, but {audio} is gone.\nRun: {recipe.stage('prepare')}")
    return Noises.load(folder, config, recogniser.features.sample_rate_hz)


def describe(run: Run) -> None:
    num_parameters = sum(parameter.numel() for parameter in run.model.parameters())
    print(
        f"{num_parameters:,d} parameters; {len(run.train):,d} training utterances, "
        f"{run.durations_s.sum() / 3600:.2f} hours; {len(run.dev):,d} dev utterances; "
        f"{run.config.num_epochs} epochs, {run.config.precision} on {run.device.type}"
        + (f", {workers.count()} workers" if workers.count() > 1 else "")
    )
