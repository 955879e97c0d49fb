"""Words of a recording with their times and how far they can be trusted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import torch

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.decode.align import align
from ds2toolkit.decode.emissions import parts
from ds2toolkit.model.ctc import ctc_loss, greedy

MARGIN_S = 0.2  # around a word where no other is near


@dataclass(frozen=True)
class Word:
    """When the network first emits the ends of a word, in seconds; score: see `scores`."""

    text: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Spot:
    """A word's tokens and their frames: the first of its first token, of its last token, and the one behind that."""

    text: str
    targets: tuple[int, ...]
    first: int
    last: int
    behind: int


def greedy_targets(log_probs_SV: np.ndarray) -> list[int]:
    """The tokens of the best path of one utterance."""
    return greedy(torch.from_numpy(log_probs_SV)[None], torch.tensor([len(log_probs_SV)]))[0]


def words(recogniser: Recogniser, log_probs_SV: np.ndarray, targets: Sequence[int]) -> list[Word]:
    """The words that the targets spell, or the characters where they are the unit.

    log_probs_SV: of the recording that says them; targets: token numbers without blanks. Raises DataError where there
    are too few frames for them.
    """
    if not targets:
        return []
    shift_s = recogniser.features.shift_s * recogniser.model.time_stride
    found, spaces = spots(recogniser, align(log_probs_SV, targets).spans, targets)
    reach = bounds(found, spaces, len(log_probs_SV), round(MARGIN_S / shift_s))
    return [
        Word(spot.text, round(spot.first * shift_s, 3), round((spot.last + 1) * shift_s, 3), score)
        for spot, score in zip(found, scores(log_probs_SV, found, reach), strict=True)
    ]


def spots(
    recogniser: Recogniser, spans: Sequence[tuple[int, int]], targets: Sequence[int]
) -> tuple[list[Spot], list[tuple[int, int]]]:
    """The words, and the frames of tokens that are nothing but a space."""
    spellings = [recogniser.vocabulary.spellings[target] for target in targets]
    spelled = [(character, number) for number, spelling in enumerate(spellings) for character in spelling]
    found = []
    for is_space, group in groupby(spelled, key=lambda one: one[0] == " "):
        for word in [] if is_space else parts(list(group), recogniser.unit):
            numbers = sorted({number for _, number in word})
            text, last = "".join(character for character, _ in word), spans[numbers[-1]]
            found.append(Spot(text, tuple(targets[n] for n in numbers), spans[numbers[0]][0], *last))
    return found, [span for span, spelling in zip(spans, spellings, strict=True) if spelling == " "]


def bounds(
    found: Sequence[Spot], spaces: Iterable[tuple[int, int]], num_frames: int, margin: int
) -> list[tuple[int, int]]:
    """For each word the frames that are its own: up to the spaces around it, or half-way to its neighbour."""
    middles = [(left.behind + right.first) // 2 for left, right in pairwise(found)]
    firsts, behinds = [0, *middles], [*middles, num_frames]
    starts = np.array([spot.first for spot in found])
    for first, behind in spaces:
        right = int(np.searchsorted(starts, behind))
        if right < len(found):
            firsts[right] = behind
        if right:
            behinds[right - 1] = min(first, behinds[right - 1])
    return [
        (max(first, spot.first - margin), min(behind, spot.behind + margin))
        for spot, first, behind in zip(found, firsts, behinds, strict=True)
    ]


def scores(log_probs_SV: np.ndarray, found: Sequence[Spot], reach: Sequence[tuple[int, int]]) -> list[float]:
    """The network's probability, over all paths of CTC, that the frames of each word say its tokens and no others."""
    pieces = [torch.from_numpy(np.array(log_probs_SV[first:behind])) for first, behind in reach]
    targets = [torch.tensor(spot.targets) for spot in found]
    pad = torch.nn.utils.rnn.pad_sequence
    loss_B = ctc_loss(
        pad(pieces, batch_first=True),
        torch.tensor([len(piece) for piece in pieces]),
        pad(targets, batch_first=True),
        torch.tensor([len(one) for one in targets]),
    )
    return torch.exp(-loss_B).clamp(0.0, 1.0).tolist()
