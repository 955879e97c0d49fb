"""Who speaks with which accent, and who is tested: a rule on names alone, so that it can be cited."""

import hashlib
import re
from collections.abc import Mapping

GROUPS = {  # as the paper forms them; other dialects have no group
    "american-canadian": ("american", "canadian"),
    "commonwealth": ("british", "irish", "south african", "australian", "new zealand"),
    "european": ("european",),
    "indian": ("indian",),
}
TEST, DEV = 0.20, 0.05  # of all hashes
MOST = 1024  # utterances of a group's test set, as in the paper, and of the dev set
MOST_OF_A_SPEAKER = 64
ANONYMOUS = "anonymous"
SUBMISSION = re.compile(r"(?:en-)?(?P<user>.+)-\d{8,10}[a-z]*(?:[-_].*)?", re.IGNORECASE)


def group_of(dialect: str) -> str | None:
    """The group of a dialect as a README has it: `British English` is commonwealth, `Other` none."""
    spelled = " ".join(dialect.lower().split())
    for group, names in GROUPS.items():
        if re.match(rf"(?:{'|'.join(names)})\b", spelled):
            return group
    return None


def speaker_of(submission: str, user: str = "") -> str:
    """Lower-case name of the user: from the submission's name, else from its README, else the submission itself.

    Anonymous users are told apart by their submissions: `anonymous-20080425-dzd`.
    """
    match = SUBMISSION.fullmatch(submission)
    name = (match["user"] if match else user or submission).lower()
    return "_".join((submission.lower() if name == ANONYMOUS else name).split())


def position(speaker: str) -> float:
    """Where a speaker stands between 0 and 1: the first 8 bytes of the SHA-256 of the name (UTF-8), over 2**64."""
    return int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:8], "big") / 2**64


def choose(speakers: Mapping[str, tuple[str | None, int]]) -> dict[str, tuple[str, int]]:
    """Speaker -> (group, number of utterances) to speaker -> (split, number of these that are used).

    Speakers come in the order of their position. One below 0.20 whose group is known is in the test set
    unless that has 1,024 utterances of the group already; one from 0.20 to 0.25 is in the dev set, likewise;
    everyone else is for training. A speaker gives no more than 64 utterances to dev or test, and the rest of
    these is not used: one voice should not be the group's error rate.

    As long as no set is full, more speakers change nothing for those who were there.
    """
    room = dict.fromkeys((*GROUPS, "dev"), MOST)
    chosen = {}
    for speaker in sorted(speakers, key=position):
        (group, count), place = speakers[speaker], position(speaker)
        target = group if place < TEST else "dev" if place < TEST + DEV else None
        taken = min(count, MOST_OF_A_SPEAKER, room.get(target, 0))
        if taken:
            room[target] -= taken
            chosen[speaker] = ("dev" if target == "dev" else "test", taken)
        else:
            chosen[speaker] = ("train", count)
    return chosen
