"""Stage `train`: train the network, or go on with a run that was stopped."""

import json
import shutil
from pathlib import Path

import torch
from lhotse.cut import Cut

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import TrainConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.batch import Utterances
from ds2toolkit.data.features import FeatureStats
from ds2toolkit.errors import DataError
from ds2toolkit.model.ctc import min_frames
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.train.loop import Run


def run(recipe: Recipe, conf: str | None, exp: str, restart: bool, settings: list[str]) -> None:
    torch.set_flush_denormal(True)  # fading gradients of the recurrence make fp32 steps 5 to 12 times slower
    config = recipe.training(conf, settings)
    folder = recipe.experiment(exp)
    if restart:
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
    print(f"best dev error rate {training.state.best:.2%} in {shown(folder / 'best.pt')}")


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
    """The utterances of some splits; those that CTC can't align are left out and counted."""
    cuts: list[Cut] = []
    for split in splits:
        path: Path = recipe.need(recipe.featured_cuts(split), "features", "train")
        cuts += cut_files.read(path)
    masks = recogniser.training.spec_augment if training else None
    whole = Utterances(cuts, recogniser.vocabulary, recogniser.features, recogniser.stats, masks)
    if not training:
        return whole
    keep = [i for i, cut in enumerate(cuts) if fits(recogniser, cut, whole.targets[i])]
    if len(keep) < len(cuts):
        print(f"left out {len(cuts) - len(keep)} training utterances too short for their transcripts")
    if not keep:
        raise DataError("every training utterance is too short for its transcript")
    return Utterances([cuts[i] for i in keep], recogniser.vocabulary, recogniser.features, recogniser.stats, masks)


def fits(recogniser: Recogniser, cut: Cut, targets: tuple[int, ...]) -> bool:
    """CTC needs an output frame a target and one more between two equal ones."""
    num_frames = round(cut.duration / recogniser.features.shift_s)
    return -(-num_frames // recogniser.model.time_stride) >= min_frames(targets)


def describe(run: Run) -> None:
    num_parameters = sum(parameter.numel() for parameter in run.model.parameters())
    print(
        f"{num_parameters / 1e6:.2f} M parameters; {len(run.train):,d} training utterances, "
        f"{run.durations_s.sum() / 3600:.2f} hours; {len(run.dev):,d} dev utterances; "
        f"{run.config.num_epochs} epochs, {run.config.precision} on {run.device.type}"
    )
