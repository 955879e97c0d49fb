"""A recording with an aligned transcript, cut between words into clips (DS2, section 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ds2toolkit.decode.align import Timed

CLIP_S = 7.0  # about the paper's
LONGEST_S = 30.0
SHORTEST_S = 1.0
SHORTEST_GAP_S = 0.2  # between words; in less the end of one may reach into the beginning of the next
GOOD_GAP_S = 0.3
PADDING_S = 0.5  # silence kept around the words of a clip, where there is more


@dataclass(frozen=True)
class Clip:
    """The words [first, behind) of a transcript and when they are said, with some of the silence around them."""

    first: int
    behind: int
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def cut(words: Sequence[Timed], duration_s: float, clip_s: float = CLIP_S) -> list[Clip]:
    """Clips of about clip_s, which have every word of the recording once, in order.

    A gap between words is a run of blanks with the space in it. The clips chosen are those with the least sum of
    ((duration - clip_s) / clip_s)^2 + (GOOD_GAP_S / gap)^2. Where there is no gap a clip may be of any length.
    """
    if not words:
        return []
    cuts = [0, *(n for n in range(1, len(words)) if gap_s(words, n) >= SHORTEST_GAP_S), len(words)]
    costs, before = [0.0], [0]
    for here in range(1, len(cuts)):
        tried = []
        for there in range(here - 1, -1, -1):
            long_s = clip(words, cuts[there], cuts[here], duration_s).duration_s
            if tried and long_s > LONGEST_S:
                break
            tried.append((costs[there] + (long_s / clip_s - 1) ** 2, there))
        cost, there = min(tried)
        costs.append(cost + (GOOD_GAP_S / gap_s(words, cuts[here])) ** 2 if here < len(cuts) - 1 else cost)
        before.append(there)
    chosen = [len(cuts) - 1]
    while chosen[-1]:
        chosen.append(before[chosen[-1]])
    ends = [cuts[number] for number in reversed(chosen)]
    return [clip(words, first, behind, duration_s) for first, behind in zip(ends, ends[1:])]


def gap_s(words: Sequence[Timed], number: int) -> float:
    """Before a word that is not the first."""
    return words[number].start_s - words[number - 1].end_s


def halves(words: Sequence[Timed], whole: Clip) -> list[Clip]:
    """A clip as two, cut in its widest gap; none where that is too narrow or a part would be shorter than SHORTEST_S."""
    inner = range(whole.first + 1, whole.behind)
    widest = max(inner, key=lambda number: gap_s(words, number), default=None)
    if widest is None or gap_s(words, widest) < SHORTEST_GAP_S:
        return []
    left = replace(clip(words, whole.first, widest, whole.end_s), start_s=whole.start_s)
    right = replace(clip(words, widest, whole.behind, whole.end_s), end_s=whole.end_s)
    parts = [left, right]
    return parts if min(part.duration_s for part in parts) >= SHORTEST_S else []


def with_parts(words: Sequence[Timed], clips: Sequence[Clip]) -> list[Clip]:
    """Clips, their halves, the halves of these, and so on."""
    found = list(clips)
    for one in found:  # which grows meanwhile
        found += halves(words, one)
    return found


def clip(words: Sequence[Timed], first: int, behind: int, duration_s: float) -> Clip:
    """Some words as a clip, from the middle of the gap before them to the middle of the gap behind."""
    start_s = (words[first - 1].end_s + words[first].start_s) / 2 if first else 0.0
    end_s = (words[behind - 1].end_s + words[behind].start_s) / 2 if behind < len(words) else duration_s
    start_s, end_s = max(start_s, words[first].start_s - PADDING_S), min(end_s, words[behind - 1].end_s + PADDING_S)
    return Clip(first, behind, round(max(start_s, 0.0), 3), round(min(end_s, duration_s), 3))
