"""Stored features: computed once, in shards that are each whole, so that a stopped run goes on with the next."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from lhotse import LilcomChunkyWriter
from lhotse.cut import Cut

from ds2toolkit import parallel
from ds2toolkit.config import FeatureConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.features import extractor
from ds2toolkit.errors import DataError, UserError

SHARD = 200


def load_features(cut: Cut, config: FeatureConfig) -> np.ndarray:
    """(num_frames, num_bins) float32, not yet normalised: from the store, or computed here from the audio."""
    if cut.has_features:
        return cut.load_features()
    return computed(cut, cut.load_audio(), config)


def computed(cut: Cut, samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Features of samples that are a cut's, or made of it. Raises DataError, which names it, for what can't be used."""
    try:
        return extractor(config).extract(samples, cut.sampling_rate)
    except DataError as error:
        raise DataError(f"{cut.id}: {error}") from None


def compute_and_store(
    cuts: Sequence[Cut], config: FeatureConfig, folder: Path, num_jobs: int, speeds: Sequence[float] = (1.0,)
) -> Iterator[Cut]:
    """The cuts at each speed, with features stored by lilcom below `folder`; shards that stand there already are kept."""
    places = [(speed, start) for speed in speeds for start in range(0, len(cuts), SHARD)]
    jobs = [
        (cuts[start : start + SHARD], speed, config, folder / f"{number:05d}")
        for number, (speed, start) in enumerate(places)
    ]
    title = f"features of {folder.parent.name}"
    for path in parallel.run(_store_shard, jobs, min(num_jobs, len(jobs)), title, chunk=1, unit="shard"):
        yield from cut_files.read(path)


def at_speed(cuts: Iterable[Cut], speed: float) -> Iterator[Cut]:
    return (cut if speed == 1.0 else cut.perturb_speed(speed) for cut in cuts)


def _store_shard(job: tuple[Sequence[Cut], float, FeatureConfig, Path]) -> Path:
    """Write a shard's features and then its manifest, which says that the shard is whole."""
    import torch

    torch.set_num_threads(1)
    cuts, speed, config, stem = job
    manifest, archive = stem.with_suffix(".jsonl.gz"), stem.with_suffix(".lca")
    if manifest.exists():
        return manifest
    stem.parent.mkdir(parents=True, exist_ok=True)
    try:
        with LilcomChunkyWriter(archive, mode="wb") as writer:
            done = [cut.compute_and_store_features(extractor(config), writer) for cut in at_speed(cuts, speed)]
        cut_files.write(done, manifest)
    except (OSError, UserError):
        if not manifest.exists():
            archive.unlink(missing_ok=True)  # a full disk must not stay full of what no manifest names
        raise
    return manifest
