"""Stage `decode`: hypotheses of every test set by every method, and what each method took in time and memory."""

import shutil
import time
from collections import Counter
from pathlib import Path

from lhotse.cut import Cut

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import SearchConfig, to_dict
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.batch import Utterances
from ds2toolkit.decode import nbest as lists
from ds2toolkit.decode import stored, tuned
from ds2toolkit.decode.beam import BLANK, with_beam_size
from ds2toolkit.decode.emissions import emissions, graph_text, greedy_text
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.heard import hypothesis
from ds2toolkit.decode.k2_worker import HOW_TO_GET_K2, k2_available
from ds2toolkit.decode.memory import PeakMemory
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.nbest import Heard, NBest
from ds2toolkit.decode.search import Found, Material
from ds2toolkit.decode.searching import search_all
from ds2toolkit.decode.stored import StoredEmissions
from ds2toolkit.errors import UserError
from ds2toolkit.files import write_json
from ds2toolkit.model.size import num_parameters
from ds2toolkit.recipe import Recipe, origin, shown
from ds2toolkit.score import hypotheses
from ds2toolkit.score.origin import write_model
from ds2toolkit.units import Unit


def run(
    recipe: Recipe,
    exp: str | None,
    model: Path | None,
    graph: Path | None,
    methods: list[str] | None,
    num_jobs: int,
    nbest: int | None = None,
) -> None:
    if nbest is not None:
        lists.check(nbest, methods)
    folder = recipe.experiment(exp, model)
    path = best(model) if model else recipe.need(folder / "best.pt", "train", "decode")
    recogniser, _ = checkpoint.load(path)
    check_language(recipe, recogniser)
    splits = test_sets(recipe)
    material = None
    if methods is None or set(methods) & set(METHODS):
        material = material_of(graph or graph_of(recipe, model, "decode"), recogniser)
    if methods is None:
        methods = available(material)
        shutil.rmtree(folder / "decode", ignore_errors=True)  # what an older checkpoint said must not be scored with this
    searches = {method: setting(method, material, recipe.config.search, path) for method in methods}
    for split in splits:
        decode_split(recipe, folder / "decode", recogniser, material, split, searches, num_jobs, nbest)
    noted = origin(model or folder), to_dict(recogniser.training), num_parameters(recogniser.model)
    write_model(folder / "decode", *noted)


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
    for split in recipe.config.splits.noisy:
        recipe.need(recipe.cuts(split), "noise", "decode")
    found = [split for split in recipe.config.splits.test if recipe.cuts(split).exists()]
    if not found:
        recipe.need(recipe.cuts(recipe.config.splits.test[0]), "prepare", "decode")
    if absent := sorted(set(recipe.config.splits.test) - set(found)):
        print(f"not in this copy of the corpus: {', '.join(absent)}")
    return found


def graph_of(recipe: Recipe, model: Path | None, verb: str) -> Path:
    """The recipe's own graph, or that of the recipe which trained the model: RECIPE/data/lang/graph for RECIPE/exp/NAME."""
    if model is None:
        return recipe.need(recipe.lang / "graph", "graph", verb)
    path = best(model).resolve().parents[2] / "data" / "lang" / "graph"
    if not path.exists():
        raise UserError(
            f"no decoding graph with the model: looked for {shown(path)}.\n"
            "Name one with --graph DIR, or decode without: --methods greedy"
        )
    return path


def available(material: Material) -> list[str]:
    """The methods that are cheap, as far as k2 can be had and the graph's language model stands beside it."""
    if not (with_k2 := bool(k2_available())):
        print(f"k2 is not installed, so the graph is searched by kaldi-decoder alone. {HOW_TO_GET_K2}")
    if not (with_lm := material.arpa.exists()):
        print(f"no beam search, for {shown(material.arpa)} does not exist")
    return ["greedy", *["beam"] * with_lm, *["k2"] * with_k2, "kaldi"]


def material_of(graph: Path, recogniser: Recogniser) -> Material:
    Graph.load(graph).check_tokens(recogniser.vocabulary.tokens)
    return Material(graph, recogniser.vocabulary, recogniser.language, recogniser.unit)


def setting(method: str, material: Material | None, config: SearchConfig, path: Path) -> SearchConfig:
    """A method's settings: those that were tuned for this checkpoint and this language model, else recipe.yaml's."""
    if method not in METHODS:
        return config
    one, config = METHODS[method], with_beam_size(config, material.unit)
    search, origin = tuned.settings(tuned.read(path.parent), one.tuned_as, made_for(method, material, path), config)
    if one.tuned:
        print(f"{method}: {', '.join(f'{name} {getattr(search, name):g}' for name in (*one.tuned, one.beam))} ({origin})")
    return search


def made_for(method: str, material: Material, path: Path) -> dict[str, str]:
    """What tuned settings are chosen for, by name, as digests."""
    return {"checkpoint": tuned.digest([path]), "language model": tuned.digest(METHODS[method].files(material))}


def decode_split(
    recipe: Recipe,
    folder: Path,
    recogniser: Recogniser,
    material: Material | None,
    split: str,
    searches: dict[str, SearchConfig],
    num_jobs: int,
    nbest: int | None,
) -> None:
    """Log-probabilities once, kept on the disk meanwhile, then each method on them."""
    cuts = {cut.id: cut for cut in split_cuts(recipe, recogniser, split)}
    audio_s = sum(cut.duration for cut in cuts.values())
    started = time.monotonic()
    alone = searches.keys() == {"greedy"}  # asked for by name: an error rate of 100% is a result, too
    log_probs = run_network(recogniser, list(cuts.values()), folder.with_name("emissions"), {}, split, may_be_silent=alone)
    print(f"{split}: {len(cuts):,d} utterances, network at {(time.monotonic() - started) / audio_s:.4f} of real time")
    try:
        for method, search in searches.items():
            with PeakMemory() as memory:
                found, took_s = decode(method, recogniser, material, log_probs, search, split, num_jobs, nbest)
            path = folder / method / f"hyps-{split}.jsonl"
            path.with_name(f"nbest-{split}.jsonl").unlink(missing_ok=True)  # of another run
            hypotheses.write(path, [hypothesis(cut, split, *found[name][0]) for name, cut in cuts.items()])
            cost = {"real_time_factor": round(took_s / audio_s, 6), "peak_memory_mb": round(memory.peak_mb)}
            write_json(folder / method / f"cost-{split}.json", cost)
            print(f"{split}: {method} at {took_s / audio_s:.4f} of real time, {memory.peak_mb:,.0f} MB, in {shown(path)}")
            if nbest:
                write_lists(path.with_name(f"nbest-{split}.jsonl"), method, cuts, found, recipe.config.unit, nbest)
    finally:
        shutil.rmtree(log_probs.folder, ignore_errors=True)


def write_lists(
    path: Path, method: str, cuts: dict[str, Cut], found: dict[str, list[Heard]], unit: Unit, num: int
) -> None:
    if method not in lists.LISTING:
        print(f"{method} finds the best path alone: no n-best lists")
        return
    written = [NBest(name, cut.supervisions[0].text, found[name]) for name, cut in cuts.items()]
    lists.write(path, written)
    print(f"{method}: {lists.oracle(written, unit, num)}, in {shown(path)}")


def run_network(
    recogniser: Recogniser, cuts: list[Cut], folder: Path, key: dict, title: str, may_be_silent: bool = False
) -> StoredEmissions:
    """Log-probabilities of cuts, on the disk. Raises UserError when all are blank, unless they may be."""
    utterances = Utterances(cuts, None, recogniser.features, recogniser.stats)
    found = emissions(recogniser, utterances, f"network on {title}")
    log_probs = stored.store(folder, key, len(recogniser.vocabulary), found)
    if all((log_probs[number].argmax(axis=1) == BLANK).all() for number in range(len(log_probs))):
        silent = f"{title}: the network hears nothing but blanks in all {len(log_probs)} utterances: train it longer"
        if not may_be_silent:
            shutil.rmtree(folder)
            raise UserError(f"{silent} (curves.png shows how far it has come)")
        print(silent)
    return log_probs


def split_cuts(recipe: Recipe, recogniser: Recogniser, split: str) -> list[Cut]:
    """The cuts of a set: with stored features where they are the checkpoint's kind, else as audio at its rate."""
    if recogniser.features == recipe.config.features and recipe.featured_cuts(split).exists():
        return list(cut_files.read(recipe.featured_cuts(split)))
    print(f"{split}: computing the features that the checkpoint was trained on")
    rate_hz = recogniser.features.sample_rate_hz
    cuts = list(cut_files.read(recipe.need(recipe.cuts(split), "prepare", "decode")))
    if other := Counter(cut.sampling_rate for cut in cuts if cut.sampling_rate != rate_hz):
        print(f"{split}: resampled to the checkpoint's {rate_hz} Hz: {', '.join(f'{n} of {hz} Hz' for hz, n in other.items())}")
    return [cut if cut.sampling_rate == rate_hz else cut.resample(rate_hz) for cut in cuts]


def decode(
    method: str,
    recogniser: Recogniser,
    material: Material | None,
    log_probs: StoredEmissions,
    search: SearchConfig,
    split: str,
    num_jobs: int,
    nbest: int | None = None,
) -> tuple[dict[str, list[Heard]], float]:
    """Of every utterance, by its id, the best text, with nbest up to so many where the method finds more than one.

    And the seconds that searching took, less those of opening the method.
    """
    if method == "greedy":
        started = time.perf_counter()
        texts = {name: [(greedy_text(recogniser, log_probs[n]), None)] for n, name in enumerate(log_probs.names)}
        return texts, time.perf_counter() - started
    found: dict[str, list[Found]] = {}
    took_s = 0.0
    num_best = nbest if method in lists.LISTING else None
    for done in search_all(method, material, log_probs, [search], num_jobs, f"{method} on {split}", num_best):
        found |= zip((log_probs.names[n] for n in done.numbers), done.lists, strict=True)
        took_s += done.took_s
    warn_unfinished(method, [best for best, *_ in found.values()], split)
    heard = {name: [(graph_text(recogniser, one.words), one.score) for one in all_] for name, all_ in found.items()}
    return {name: lists.distinct(all_) for name, all_ in heard.items()}, took_s


def warn_unfinished(method: str, found: list[Found], split: str) -> None:
    """Say how many utterances have no whole path. Raises UserError when none has one, before anything is written."""
    unfinished = sum(not one.reached_final for one in found)
    if unfinished:
        print(f"{split}: {method} reached no final state in {unfinished} utterances: widen search_beam in recipe.yaml")
    if unfinished == len(found):
        raise UserError(
            f"{method} found no whole path in any utterance of {split}: the beams in recipe.yaml (search: search_beam,"
            " beam_size, max_active) are too narrow, or the graph is of another corpus"
        )
