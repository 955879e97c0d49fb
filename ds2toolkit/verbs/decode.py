"""Stage `decode`: hypotheses of every test set, greedy and over the graph with k2 and kaldi-decoder."""

import shutil
import time
from collections import Counter
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
from ds2toolkit.decode.emissions import emissions, graph_text, greedy_text
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.k2_worker import HOW_TO_GET_K2, k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.errors import UserError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.score import hypotheses
from ds2toolkit.score.hypotheses import Hypothesis

BATCH = 8
OPEN = {"k2": open_k2, "kaldi": KaldiDecoder}


def run(recipe: Recipe, exp: str | None, model: Path | None, graph: Path | None, methods: list[str] | None) -> None:
    folder = recipe.experiment(exp, model)
    recogniser, _ = checkpoint.load(best(model) if model else recipe.need(folder / "best.pt", "train", "decode"))
    check_language(recipe, recogniser)
    splits = test_sets(recipe)
    if methods is None:
        methods = available()
        shutil.rmtree(folder / "decode", ignore_errors=True)  # what an older checkpoint said must not be scored with this
    loaded = load_graph(graph or graph_of(recipe, model), recogniser) if set(methods) & set(OPEN) else None
    for split in splits:
        decode_split(recipe, folder / "decode", recogniser, loaded, split, methods)


def best(model: Path) -> Path:
    path = model / "best.pt" if model.is_dir() else model
    if not path.is_file():
        raise UserError(f"--model {model}: {shown(path)} does not exist; name an experiment folder, as in ../librispeech/exp/ds2")
    return path


def check_language(recipe: Recipe, recogniser: Recogniser) -> None:
    """Raises UserError when the model spells another language than the recipe's references are in."""
    ours, theirs = ((one.language, one.unit) for one in (recipe.config, recogniser))
    if ours != theirs:
        raise UserError(f"the model is for {' by '.join(theirs)}, the recipe {recipe.name} is {' by '.join(ours)}")


def test_sets(recipe: Recipe) -> list[str]:
    """Those that this copy of the corpus has. Raises UserError when there is none."""
    found = [split for split in recipe.config.splits.test if recipe.cuts(split).exists()]
    if not found:
        recipe.need(recipe.cuts(recipe.config.splits.test[0]), "prepare", "decode")
    if absent := sorted(set(recipe.config.splits.test) - set(found)):
        print(f"not in this copy of the corpus: {', '.join(absent)}")
    return found


def graph_of(recipe: Recipe, model: Path | None) -> Path:
    """The recipe's own graph, or that of the recipe which trained the model: RECIPE/data/lang/graph for RECIPE/exp/NAME."""
    if model is None:
        return recipe.need(recipe.lang / "graph", "graph", "decode")
    path = best(model).resolve().parents[2] / "data" / "lang" / "graph"
    if not path.exists():
        raise UserError(
            f"no decoding graph with the model: looked for {shown(path)}.\n"
            "Name one with --graph DIR, or decode without: --methods greedy"
        )
    return path


def available() -> list[str]:
    """All methods, less k2 where it can't be had."""
    if k2_available():
        return ["greedy", "k2", "kaldi"]
    print(f"k2 is not installed, so the graph is searched by kaldi-decoder alone. {HOW_TO_GET_K2}")
    return ["greedy", "kaldi"]


def load_graph(folder: Path, recogniser: Recogniser) -> Graph:
    graph = Graph.load(folder)
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
    """The cuts of a test set: with stored features where they are the checkpoint's kind, else as audio at its rate."""
    if recogniser.features == recipe.config.features and recipe.featured_cuts(split).exists():
        return list(cut_files.read(recipe.featured_cuts(split)))
    print(f"{split}: computing the features that the checkpoint was trained on")
    rate_hz = recogniser.features.sample_rate_hz
    cuts = list(cut_files.read(recipe.need(recipe.cuts(split), "prepare", "decode")))
    if other := Counter(cut.sampling_rate for cut in cuts if cut.sampling_rate != rate_hz):
        print(f"{split}: resampled to the checkpoint's {rate_hz} Hz: {', '.join(f'{n} of {hz} Hz' for hz, n in other.items())}")
    return [cut if cut.sampling_rate == rate_hz else cut.resample(rate_hz) for cut in cuts]


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
                yield name, (graph_text(recogniser, graph.spell(path.word_ids)), path.score)
                unfinished += not path.reached_final
            bar.update(len(batch))
    if unfinished:
        print(f"{split}: {method} reached no final state in {unfinished} utterances: widen search_beam in recipe.yaml")
    if unfinished == len(names):
        raise UserError(f"{method} found no whole path in any utterance of {split}: is the graph of another corpus?")
