"""Stage `decode`: hypotheses of every test set, greedy and over the graph with k2 and kaldi-decoder."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lhotse.cut import Cut
from tqdm import tqdm

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import SearchConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.batch import Utterances
from ds2toolkit.decode.emissions import emissions, greedy_text
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.k2_worker import HOW_TO_GET_K2, k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.errors import UserError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.score import hypotheses
from ds2toolkit.score.hypotheses import Hypothesis

BATCH = 8
OPEN = {"k2": open_k2, "kaldi": KaldiDecoder}


def run(recipe: Recipe, exp: str, methods: list[str] | None) -> None:
    folder = recipe.experiment(exp)
    recogniser, _ = checkpoint.load(recipe.need(folder / "best.pt", "train", "decode"))
    if methods is None:
        methods = available()
        shutil.rmtree(folder / "decode", ignore_errors=True)  # what an older checkpoint said must not be scored with this
    graph = load_graph(recipe, recogniser) if set(methods) & set(OPEN) else None
    for split in recipe.config.splits.test:
        decode_split(recipe, folder / "decode", recogniser, graph, split, methods)


def available() -> list[str]:
    """All methods, less k2 where it can't be had."""
    if k2_available():
        return ["greedy", "k2", "kaldi"]
    print(f"k2 is not installed, so the graph is searched by kaldi-decoder alone. {HOW_TO_GET_K2}")
    return ["greedy", "kaldi"]


def load_graph(recipe: Recipe, recogniser: Recogniser) -> Graph:
    graph = Graph.load(recipe.need(recipe.lang / "graph", "graph", "decode"))
    graph.check_tokens(recogniser.vocabulary.tokens)
    return graph


def decode_split(
    recipe: Recipe, folder: Path, recogniser: Recogniser, graph: Graph | None, split: str, methods: list[str]
) -> None:
    """Log-probabilities once, then each method on them; prints the time each took against the audio's."""
    cuts = split_cuts(recipe, recogniser, split)
    utterances = Utterances(cuts, None, recogniser.features, recogniser.stats)
    started = time.monotonic()
    log_probs = dict(emissions(recogniser, utterances, f"network on {split}"))
    audio_s = float(utterances.durations_s.sum())
    print(f"{split}: {len(cuts):,d} utterances, network at {(time.monotonic() - started) / audio_s:.4f} of real time")
    for method in methods:
        started = time.monotonic()
        found = dict(search(method, recogniser, graph, log_probs, recipe.config.search, split))
        path = folder / method / f"hyps-{split}.jsonl"
        hypotheses.write(path, [hypothesis(cut, split, *found[cut.id]) for cut in cuts])
        print(f"{split}: {method} at {(time.monotonic() - started) / audio_s:.4f} of real time, in {shown(path)}")


def split_cuts(recipe: Recipe, recogniser: Recogniser, split: str) -> list[Cut]:
    """The cuts of a test set: with stored features where they are the checkpoint's kind, else as audio."""
    if recogniser.features == recipe.config.features:
        return list(cut_files.read(recipe.need(recipe.featured_cuts(split), "features", "decode")))
    print(f"{split}: the checkpoint has other features than recipe.yaml; computing its own")
    return list(cut_files.read(recipe.need(recipe.cuts(split), "prepare", "decode")))


def hypothesis(cut: Cut, split: str, text: str, score: float | None) -> Hypothesis:
    supervision = cut.supervisions[0]
    condition = (supervision.custom or {}).get("condition") or "all"
    speaker = supervision.speaker or "unknown"
    return Hypothesis(cut.id, split, condition, speaker, supervision.text, text, cut.duration, score)


def search(
    method: str,
    recogniser: Recogniser,
    graph: Graph | None,
    log_probs: dict[str, np.ndarray],
    config: SearchConfig,
    split: str,
) -> Iterator[tuple[str, tuple[str, float | None]]]:
    """(id, (text, score)) of every utterance."""
    if method == "greedy":
        for name, log_probs_SV in log_probs.items():
            yield name, (greedy_text(recogniser, log_probs_SV), None)
        return
    unfinished = 0
    names = list(log_probs)
    with OPEN[method](graph) as decoder, tqdm(total=len(names), desc=f"{method} on {split}", disable=None) as bar:
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            paths = decoder.decode([log_probs[name] for name in batch], config)
            for name, path in zip(batch, paths, strict=True):
                yield name, (" ".join(graph.spell(path.word_ids)), path.score)
                unfinished += not path.reached_final
            bar.update(len(batch))
    if unfinished:
        print(f"{split}: {method} reached no final state in {unfinished} utterances: widen search_beam in recipe.yaml")
    if unfinished == len(names):
        raise UserError(f"{method} found no whole path in any utterance of {split}: is the graph of another corpus?")
