"""Stage `calibrate`: what the scores of words are worth, learnt on the dev set for `transcribe` to find."""

from pathlib import Path

import numpy as np

from ds2toolkit import checkpoint
from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import calibration, confidence, tuned
from ds2toolkit.decode.calibration import calibrate, expected_error, held_out
from ds2toolkit.decode.emissions import graph_text
from ds2toolkit.decode.k2_worker import k2_available
from ds2toolkit.decode.search import Material
from ds2toolkit.decode.searching import search_all
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.score.align import NOTHING, align
from ds2toolkit.units import split_units
from ds2toolkit.verbs import decode, tune
from ds2toolkit.verbs.tune import Dev

Scored = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of every word its score, whether it is right, the number of its utterance."""


def run(recipe: Recipe, exp: str | None, graph: Path | None, num_jobs: int) -> None:
    folder = recipe.experiment(exp)
    path = recipe.need(folder / "best.pt", "train", "calibrate")
    recogniser, _ = checkpoint.load(path)
    decode.check_language(recipe, recogniser)
    dev = tune.dev_set(recipe, recogniser, path)
    greedy = [confidence.greedy_targets(dev.log_probs[number]) for number in range(len(dev.log_probs))]
    found = {"greedy": (scored(dev, greedy), {"checkpoint": tuned.digest([path])})}
    if graph or (recipe.lang / "graph").exists():
        material = decode.material_of(graph or recipe.lang / "graph", recogniser)
        method = "k2" if k2_available() else "kaldi"
        search = decode.setting(method, material, recipe.config.search, path)
        targets = graph_targets(dev, material, method, search, num_jobs)
        found["graph"] = (scored(dev, targets), decode.made_for(method, material, path))
    entries, drawn = {}, {}
    for method, ((scores, correct, utterance), made_for) in found.items():
        apart = held_out(scores, correct, utterance)
        errors = {"error_of_score": expected_error(scores, correct), "error_held_out": expected_error(apart, correct)}
        entries[method] = calibration.entry(calibrate(scores, correct), made_for, num_words=len(scores), **errors)
        drawn[method] = (scores, apart, correct)
        print(
            f"{method}: {len(scores)} words, {correct.mean():.1%} of them right; expected calibration error"
            f" {errors['error_of_score']:.3f} of scores, {errors['error_held_out']:.3f} calibrated (held out)"
        )
    calibration.write(folder, entries)
    picture = folder / "confidence.png"
    also = f", drawn in {shown(picture)}" if calibration.draw(drawn, picture) else ""
    print(f"kept in {shown(folder / calibration.NAME)}{also}")


def graph_targets(dev: Dev, material: Material, method: str, search: SearchConfig, num_jobs: int) -> list[list[int]]:
    targets: list[list[int]] = [[] for _ in dev.references]
    for done in search_all(method, material, dev.log_probs, [search], num_jobs, f"{method} on dev"):
        for number, found in zip(done.numbers, done.found, strict=True):
            targets[number] = dev.recogniser.vocabulary.encode_known(graph_text(dev.recogniser, found.words))
    return targets


def scored(dev: Dev, targets: list[list[int]]) -> Scored:
    scores, correct, utterance = [], [], []
    for number, (spelled, reference) in enumerate(zip(targets, dev.references, strict=True)):
        words = confidence.words(dev.recogniser, dev.log_probs[number], spelled)
        pairs = align(split_units(reference, dev.recogniser.unit), [word.text for word in words])
        scores += [word.score for word in words]
        correct += [ref == hyp for ref, hyp in pairs if hyp != NOTHING]
        utterance += [number] * len(words)
    return np.array(scores), np.array(correct, bool), np.array(utterance)
