"""Cuts, a million of which take a hundred megabytes: packed, and made when they are asked for."""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from ds2toolkit.model.ctc import min_frames

CUTS_A_MEMBER = 32  # more make the file smaller and a single cut slower to reach


@dataclass(frozen=True, eq=False)
class Cuts(Sequence[Cut]):
    """Cuts by place, by slice (Cuts again) or in order. One and the same place gives a new, equal cut each time.

    members: gzip files of some tens of cuts; member_N, line_N: where each of the N cuts stands in them.
    durations_s: float64 (N,); min_frames: int64 (N,), the fewest output frames that spell the text in characters.
    """

    members: list[bytes]
    member_N: np.ndarray
    line_N: np.ndarray
    durations_s: np.ndarray
    min_frames: np.ndarray

    @staticmethod
    def of(cuts: Iterable[Cut]) -> "Cuts":
        """Pack cuts. The same cuts make the same bytes."""
        rest, members, sizes, durations_s, frames = iter(cuts), [], [], [], []
        while some := list(islice(rest, CUTS_A_MEMBER)):
            members.append(_pack(some))
            sizes.append(len(some))
            durations_s += [cut.duration for cut in some]
            frames += [min_frames("".join(one.text or "" for one in cut.supervisions)) for cut in some]
        return Cuts.placed(members, np.array(sizes, int), np.array(durations_s, float), np.array(frames, int))

    @staticmethod
    def placed(members: list[bytes], sizes: np.ndarray, durations_s: np.ndarray, min_frames: np.ndarray) -> "Cuts":
        """From members of these numbers of cuts."""
        first = np.cumsum(sizes) - sizes
        line_N = np.arange(len(durations_s)) - np.repeat(first, sizes)
        return Cuts(members, np.repeat(np.arange(len(members)), sizes), line_N, durations_s, min_frames)

    @staticmethod
    def joined(parts: Sequence["Cuts"]) -> "Cuts":
        """One part after another."""
        before = np.cumsum([0] + [len(part.members) for part in parts[:-1]])
        return Cuts(
            [member for part in parts for member in part.members],
            np.concatenate([part.member_N + count for part, count in zip(parts, before, strict=True)]),
            np.concatenate([part.line_N for part in parts]),
            np.concatenate([part.durations_s for part in parts]),
            np.concatenate([part.min_frames for part in parts]),
        )

    def take(self, places: np.ndarray) -> "Cuts":
        """The cuts at these places, in the order of the places."""
        used, member_N = np.unique(self.member_N[places], return_inverse=True)
        members = [self.members[number] for number in used]
        return Cuts(members, member_N, self.line_N[places], self.durations_s[places], self.min_frames[places])

    def __len__(self) -> int:
        return len(self.durations_s)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return _cut(_lines(self.members[self.member_N[place]])[self.line_N[place]])

    def __iter__(self) -> Iterator[Cut]:
        lines, unpacked = [], None
        for number, line in zip(self.member_N.tolist(), self.line_N.tolist(), strict=True):
            if number != unpacked:
                lines, unpacked = _lines(self.members[number]), number
            yield _cut(lines[line])


def _pack(cuts: list[Cut]) -> bytes:
    """A gzip file of lines as lhotse writes them, without the time of writing."""
    lines = [json.dumps(cut.to_dict(), ensure_ascii=False).encode() + b"\n" for cut in cuts]
    return gzip.compress(b"".join(lines), mtime=0)


def _lines(member: bytes) -> list[bytes]:
    return gzip.decompress(member).splitlines()


def _cut(line: bytes) -> Cut:
    return deserialize_item(json.loads(line))
