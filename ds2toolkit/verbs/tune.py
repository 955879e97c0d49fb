"""Stage `tune`: weights of language model and word count, and beams, chosen on the dev set for `decode` to find."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.cut import Cut

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import surface, tune, tuned
from ds2toolkit.decode.beam import with_beam_size
from ds2toolkit.decode.emissions import graph_text, greedy_text
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.search import Material
from ds2toolkit.decode.searching import search_all
from ds2toolkit.decode.stored import StoredEmissions
from ds2toolkit.decode.tune import Choice
from ds2toolkit.errors import UserError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.score.align import count_errors
from ds2toolkit.units import split_units
from ds2toolkit.verbs import decode

MAX_UTTERANCES = 1000
MAX_BYTES = 1 << 30
DEFAULT = ("kaldi", "beam")
# Of the beam in recipe.yaml. With a search_beam narrower yet, k2 and kaldi-decoder prune unlike each other.
SHARES = {"beam_size": (1 / 8, 1 / 4, 1 / 2, 1), "search_beam": (0.6, 0.8, 1)}
AT = {"beam_size": 1 / 4, "search_beam": 0.6}  # those that weights are chosen at
HOPELESS = 0.8  # error rate from which on searches wander among noise, for hours, and what they find means nothing


@dataclass(frozen=True)
class Dev:
    """The dev set as the network heard it, and what was said."""

    recogniser: Recogniser
    log_probs: StoredEmissions
    references: list[str]

    @property
    def num_units(self) -> int:
        return sum(len(split_units(text, self.recogniser.unit)) for text in self.references)


def run(recipe: Recipe, exp: str | None, graph: Path | None, methods: list[str] | None, num_jobs: int) -> None:
    folder = recipe.experiment(exp)
    path = recipe.need(folder / "best.pt", "train", "tune")
    recogniser, _ = checkpoint.load(path)
    decode.check_language(recipe, recogniser)
    material = decode.material_of(graph or decode.graph_of(recipe, None, "tune"), recogniser)
    dev = dev_set(recipe, recogniser, path)
    if (rate := greedy_rate(dev)) > HOPELESS:
        print(f"nothing is tuned: without a language model {rate:.0%} of the dev set's {recogniser.unit}s are wrong; train longer")
        return
    for method in one_a_group(methods or list(DEFAULT)):
        found = choose(dev, method, material, recipe.config.search, num_jobs)
        found["of"] = decode.made_for(method, material, path)
        entries = tuned.add(folder, METHODS[method].tuned_as, found)
        report(METHODS[method].tuned_as, found)
    drawn = surface.draw(entries, folder / "tune.png")
    print(f"kept in {shown(folder / tuned.NAME)}" + (f", drawn in {shown(folder / 'tune.png')}" if drawn else ""))


def one_a_group(methods: list[str]) -> list[str]:
    """Methods that share their weights are tuned once, by the one that starts fastest."""
    chosen: dict[str, str] = {}
    for method in sorted(methods, key=lambda method: METHODS[method].min_batches):
        chosen.setdefault(METHODS[method].tuned_as, method)
    return list(chosen.values())


def dev_set(recipe: Recipe, recogniser: Recogniser, path: Path) -> Dev:
    """Log-probabilities, kept beside the checkpoint, and references of the dev utterances, or of a fixed choice of many."""
    splits = recipe.config.splits.dev
    for split in splits:
        recipe.need(recipe.cuts(split), "prepare", "tune")
    cuts = [cut for split in splits for cut in decode.split_cuts(recipe, recogniser, split)]
    chosen = some(cuts, recogniser)
    if len(chosen) < len(cuts):
        print(f"tuning on {len(chosen):,d} of {len(cuts):,d} dev utterances")
    key = {"checkpoint": tuned.digest([path]), "cuts": tuned.digest(recipe.cuts(split) for split in splits)}
    kept = StoredEmissions(path.parent / "tune")
    if not kept.is_of(key):
        kept = decode.run_network(recogniser, chosen, kept.folder, key, ", ".join(splits))
    texts = {cut.id: cut.supervisions[0].text for cut in chosen}
    dev = Dev(recogniser, kept, [texts[name] for name in kept.names])
    if not dev.num_units:
        raise UserError(f"the dev set ({', '.join(splits)}) has no {recogniser.unit}s to tune on")
    return dev


def some(cuts: list[Cut], recogniser: Recogniser) -> list[Cut]:
    """All, or as many as disk and time allow, drawn with a fixed seed."""
    frame_s = recogniser.features.shift_s * recogniser.model.time_stride
    num_bytes = 4 * len(recogniser.vocabulary) * sum(cut.duration for cut in cuts) / frame_s
    number = min(len(cuts), MAX_UTTERANCES, max(1, int(len(cuts) * MAX_BYTES / num_bytes)))
    return [cuts[n] for n in sorted(np.random.default_rng(0).permutation(len(cuts))[:number])]


def greedy_rate(dev: Dev) -> float:
    """The error rate of each frame's best token."""
    texts = (greedy_text(dev.recogniser, dev.log_probs[number]) for number in range(len(dev.references)))
    pairs = zip(dev.references, texts, strict=True)
    return sum(count_errors(ref, hyp, dev.recogniser.unit).errors for ref, hyp in pairs) / dev.num_units


def beams(method: str, config: SearchConfig, unit: str) -> list[float]:
    """The widths of a method's beam that are tried: up to the one in recipe.yaml, which is the paper's by default."""
    name = METHODS[method].beam
    widest = getattr(with_beam_size(config, unit), name)
    return [type(widest)(max(share * widest, 1)) for share in SHARES[name]]


def choose(dev: Dev, method: str, material: Material, config: SearchConfig, num_jobs: int) -> dict[str, Any]:
    """Weights at a beam that is narrow, for time; then the beam, with these."""
    one, widths = METHODS[method], beams(method, config, dev.recogniser.unit)
    at = {one.beam: widths[SHARES[one.beam].index(AT[one.beam])]}
    searched = partial(errors, dev, method, material, config, num_jobs)
    start = {name: getattr(config, name) for name in one.tuned}
    choice = tune.tune(one.tuned, lambda points: searched([{**point, **at} for point in points]), start)
    weights = choice.surface.values(choice.chosen)
    tried = searched([{**weights, one.beam: width} for width in widths])
    return entry(choice, dev.num_units) | beam_entry(one.beam, widths, tried, weights, dev.num_units)


def errors(
    dev: Dev, method: str, material: Material, config: SearchConfig, num_jobs: int, points: Sequence[dict[str, float]]
) -> np.ndarray:
    """(num_points, num_utterances): the errors of every dev utterance under every setting."""
    settings = [replace(config, **point) for point in points]
    counted = np.zeros((len(points), len(dev.references)), dtype=np.int64)
    for done in search_all(method, material, dev.log_probs, settings, num_jobs, f"tuning {method}"):
        for number, found in zip(done.numbers, done.found, strict=True):
            text = graph_text(dev.recogniser, found.words)
            counted[done.setting, number] = count_errors(dev.references[number], text, dev.recogniser.unit).errors
    return counted


def entry(choice: Choice, num_units: int) -> dict[str, Any]:
    """What search.json says of one choice."""
    surface, kept = choice.surface, set(choice.fine.plateau())
    points = [
        {**surface.values(point), "error_rate": surface.total(point) / num_units, "kept": point in kept}
        for point in sorted(surface.errors)
    ]
    return {"best_error_rate": surface.total(surface.bests[0]) / num_units, "surface": points}


def beam_entry(name: str, widths: list[float], tried: np.ndarray, weights: dict[str, float], num_units: int) -> dict[str, Any]:
    """What it says of the beam: the narrowest that makes no more errors on the dev set than the widest is chosen."""
    rates = (tried.sum(axis=1) / num_units).tolist()
    width, rate = next((width, rate) for width, rate in zip(widths, rates, strict=True) if rate <= rates[-1])
    lines = [{name: width, "error_rate": rate} for width, rate in zip(widths, rates, strict=True)]
    return {"chosen": {**weights, name: width}, "dev_error_rate": rate, "beams": lines}


def report(name: str, found: dict[str, Any]) -> None:
    chosen = ", ".join(f"{axis} {value:g}" for axis, value in found["chosen"].items())
    kept = sum(point["kept"] for point in found["surface"])
    *_, (beam, widest) = ((name, one[name]) for one in found["beams"] for name in one if name in found["chosen"])
    print(
        f"{name}: {chosen}: dev error rate {found['dev_error_rate']:.2%}, the nearest to recipe.yaml's of {kept} settings within"
        f" one standard error of the best, {found['best_error_rate']:.2%}; {len(found['surface'])} were tried; a {beam} of"
        f" {widest:g} makes no fewer errors"
    )
