"""Stored features: computed once, in shards that are each whole, so that a stopped run goes on with the next."""

from pathlib import Path

import numpy as np
from lhotse import CutSet, LilcomChunkyWriter
from lhotse.cut import Cut

from ds2toolkit import parallel
from ds2toolkit.config import FeatureConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.features import extractor

SHARD = 200


def load_features(cut: Cut, config: FeatureConfig) -> np.ndarray:
    """(num_frames, num_bins) float32, not yet normalised: from the store, or computed here from the audio."""
    if cut.has_features:
        return cut.load_features()
    return extractor(config).extract(cut.load_audio(), cut.sampling_rate)


def compute_and_store(cuts: CutSet, config: FeatureConfig, folder: Path, num_jobs: int) -> list[Cut]:
    """The cuts with their features stored by lilcom below `folder`; shards that stand there already are kept."""
    cuts = list(cuts)
    shards = [cuts[start : start + SHARD] for start in range(0, len(cuts), SHARD)]
    jobs = [(shard, config, folder / f"{number:05d}") for number, shard in enumerate(shards)]
    title = f"features of {folder.parent.name}"
    paths = parallel.run(_store_shard, jobs, min(num_jobs, len(jobs)), title, chunk=1, unit="shard")
    return [cut for path in paths for cut in cut_files.read(path)]


def _store_shard(job: tuple[list[Cut], FeatureConfig, Path]) -> Path:
    """Write a shard's features and then its manifest, which says that the shard is whole."""
    import torch

    torch.set_num_threads(1)
    cuts, config, stem = job
    manifest, archive = stem.with_suffix(".jsonl.gz"), stem.with_suffix(".lca")
    if manifest.exists():
        return manifest
    stem.parent.mkdir(parents=True, exist_ok=True)
    try:
        with LilcomChunkyWriter(archive, mode="wb") as writer:
            done = [cut.compute_and_store_features(extractor(config), writer) for cut in cuts]
        cut_files.write(done, manifest)
    except OSError:
        archive.unlink(missing_ok=True)  # a full disk must not stay full of what no manifest names
        raise
    return manifest
