"""confidence.json, beside the checkpoint: how a word's score becomes the share of such words that are right."""

import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ds2toolkit.decode.logistic import fit
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import whole, write_json

NAME = "confidence.json"
MIN_WORDS = 20
NUM_BINS = 10
PENALTY = 1e-3
EDGE = 1e-6


@dataclass(frozen=True)
class Calibration:
    """confidence = 1 / (1 + exp(-(weight * logit(score) + bias))), which never falls as the score grows.

    Platt's (Probabilistic outputs for support vector machines, 1999), of the logit of a probability.
    """

    weight: float
    bias: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Scores and confidences between 0 and 1."""
        return 1 / (1 + np.exp(-(self.weight * logit(scores) + self.bias)))


def logit(scores: np.ndarray) -> np.ndarray:
    inner = np.clip(scores, EDGE, 1 - EDGE)
    return np.log(inner / (1 - inner))


def calibrate(scores: np.ndarray, correct: np.ndarray) -> Calibration:
    """scores between 0 and 1 of words, and which of them are right. Raises UserError for fewer than MIN_WORDS."""
    if len(scores) < MIN_WORDS:
        raise UserError(f"{len(scores)} words are too few to calibrate on: at least {MIN_WORDS} are needed")
    right = int(correct.sum())
    labels = np.where(correct, (right + 1) / (right + 2), 1 / (len(correct) - right + 2))
    found = fit(logit(scores)[:, None], labels, PENALTY)
    weight = float(found.weight_F[0])
    return Calibration(weight, found.bias) if weight > 0 else Calibration(0.0, float(logit(labels.mean())))


def held_out(scores: np.ndarray, correct: np.ndarray, utterance: np.ndarray) -> np.ndarray:
    """The confidence of each word by the calibration on the utterances of the other parity."""
    found = np.empty(len(scores))
    for parity in (0, 1):
        ours = utterance % 2 == parity
        found[ours] = calibrate(scores[~ours], correct[~ours])(scores[ours])
    return found


def bins(confidence: np.ndarray, correct: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, share that is right, number of words) of the words in each tenth of confidence that has any."""
    of_word = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    within = (of_word == number for number in np.unique(of_word))
    return [(float(confidence[these].mean()), float(correct[these].mean()), int(these.sum())) for these in within]


def expected_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error: the mean over words of the distance in their bin of confidence and share right."""
    return sum(abs(sure - right) * count for sure, right, count in bins(confidence, correct)) / len(correct)


def entry(calibration: Calibration, made_for: dict[str, str], **facts: Any) -> dict[str, Any]:
    """What confidence.json says of one method."""
    return {**asdict(calibration), **facts, "of": made_for}


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Method -> its entry. Empty without a file; raises DataError when it is damaged."""
    path = folder / NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for one in entries.values():
            Calibration(float(one["weight"]), float(one["bias"]))
            dict(one["of"])
        return entries
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is damaged: delete it, or write it again with `ds2 calibrate`") from None


def write(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Beside the entries of other methods that are there."""
    write_json(folder / NAME, {**read(folder), **entries})


def lookup(folder: Path, method: str, made_for: dict[str, str]) -> tuple[Calibration | None, str]:
    """The calibration of a method for this checkpoint and language model, or why there is none."""
    one = read(folder).get(method)
    if one is None:
        return None, f"no {NAME} beside the checkpoint says how to read scores ({method}): `ds2 calibrate` writes it"
    if changed := [part for part, digest in made_for.items() if one["of"].get(part) != digest]:
        return None, f"{folder / NAME} is for another {' and another '.join(changed)}: run `ds2 calibrate` again"
    return Calibration(float(one["weight"]), float(one["bias"])), ""


def draw(found: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], path: Path) -> bool:
    """A reliability plot, areas by number of words; method -> scores, held-out confidences, which are right.

    False without matplotlib (extra `plots`).
    """
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(found), 4.2), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (method, (scores, confidence, correct)) in zip(panels, found.items(), strict=True):
        panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, values in (("score", scores), ("confidence, held out", confidence)):
            x, y, counts = zip(*bins(values, correct))
            error = expected_error(values, correct)
            areas = [max(6.0, 600 * count / len(correct)) for count in counts]
            panel.scatter(x, y, s=areas, alpha=0.6, label=f"{name}: error {error:.3f}")
        panel.set(title=f"{method}: {len(correct)} words", xlabel="what is said", ylabel="share of words that are right")
        panel.legend(loc="lower right", fontsize=8, markerscale=0.3)
    with whole(path) as part:
        figure.savefig(part, dpi=120)
    return True
