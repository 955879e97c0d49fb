"""Stage `features`: features of every split, stored or left to be computed on the fly, and their mean and variance."""

import hashlib
import json
import shutil
from pathlib import Path

from ds2toolkit.config import to_dict
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.features import FeatureStats
from ds2toolkit.data.packed import Cuts
from ds2toolkit.data.store import at_speed, compute_and_store, load_features
from ds2toolkit.files import write_json, write_text
from ds2toolkit.recipe import Recipe, shown

STATS_UTTERANCES = 2000


def run(recipe: Recipe, num_jobs: int) -> None:
    splits = [name for name in recipe.config.splits if recipe.cuts(name).exists()]
    for name in (*recipe.config.splits.train, *recipe.config.splits.dev):
        recipe.need(recipe.cuts(name), "prepare", "features")
    for name in splits:
        if up_to_date(recipe, name):
            print(f"{name}: up to date")
        else:
            stats_path(recipe).unlink(missing_ok=True)
            extract(recipe, name, num_jobs)
    if recipe.config.features.mean_variance == "global" and not stats_path(recipe).exists():
        write_stats(recipe)


def stats_path(recipe: Recipe) -> Path:
    return recipe.data / "stats.json"


def key(recipe: Recipe, split: str) -> str:
    """What the features of a split depend on, as a digest."""
    settings = json.dumps(to_dict(recipe.config.features), sort_keys=True)
    return hashlib.sha256(recipe.cuts(split).read_bytes() + settings.encode()).hexdigest()[:16]


def up_to_date(recipe: Recipe, split: str) -> bool:
    path = key_path(recipe, split)
    return path.exists() and path.read_text(encoding="utf-8") == key(recipe, split)


def key_path(recipe: Recipe, split: str) -> Path:
    return recipe.featured_cuts(split).with_name("features.key")


def extract(recipe: Recipe, split: str, num_jobs: int) -> None:
    """Features of one split; training splits once for each speed. The key is written last, so half a split is redone."""
    config = recipe.config.features
    cuts = cut_files.read(recipe.cuts(split))
    speeds = config.speeds if split in recipe.config.splits.train else (1.0,)
    key_path(recipe, split).unlink(missing_ok=True)
    if config.storage == "lilcom":
        folder = recipe.featured_cuts(split).with_name(f"feats-{key(recipe, split)}")
        remove_others(folder)
        done = compute_and_store(cuts, config, folder, num_jobs, speeds)
    else:
        done = (cut for speed in speeds for cut in at_speed(cuts, speed))
    cut_files.write(done, recipe.featured_cuts(split))
    write_text(key_path(recipe, split), key(recipe, split))
    print(f"{split}: {len(cuts) * len(speeds):,d} utterances, {config.kind}, {config.storage}")


def remove_others(folder: Path) -> None:
    for other in folder.parent.glob("feats-*"):
        if other != folder:
            shutil.rmtree(other)


def write_stats(recipe: Recipe) -> None:
    """Mean and variance over (a sample of) the training set, for the checkpoint to carry."""
    config = recipe.config.features
    cuts = Cuts.joined([cut_files.read(recipe.featured_cuts(name)) for name in recipe.config.splits.train])
    sample = cuts[:: max(1, len(cuts) // STATS_UTTERANCES)]
    stats = FeatureStats.of(load_features(cut, config) for cut in sample)
    write_json(stats_path(recipe), stats.to_dict())
    print(f"mean and variance of {len(sample):,d} training utterances in {shown(stats_path(recipe))}")
