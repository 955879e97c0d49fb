"""Who speaks in the toy VoxForge: users whose names put them in the split that they are made for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, cycle, islice

import numpy as np

from ds2toolkit.recipe import sibling
from ds2toolkit.toy.speech import Voice
from ds2toolkit.toy.studio import Setting

speakers = sibling(__file__, "speakers")

DIALECTS = {
    "american": ("American English", "Canadian English"),
    "new york": ("American English",),
    "british": ("British English", "New Zealand English"),
    "received": ("British English", "South African English"),
    "scottish": ("Irish English",),
    "lancaster": ("Australian English",),
    "german": ("European English",),
    "french": ("European English",),
    "spanish": ("European English",),
    "indian": ("Indian English",),
}
QUIRKY = [  # accent, voice, quirk, dialect in the README
    ("american", "m1", "anonymous", "American English"),
    ("british", "f1", "anonymous, old readme", "British English"),
    ("indian", "m2", "flac", "Indian English"),
    ("american", "f2", "no readme", ""),
    ("british", "m3", "original prompts", "Other"),
    ("german", "m4", "latin-1", "European English"),
    ("new york", "f4", "odd name", "unknown"),
    ("scottish", "Annie", "new application", "Scottish (British Isles)"),
]
ACCENTS = (
    *("american", "british", "american", "german", "american", "received", "new york", "indian"),
    *("american", "lancaster", "american", "french", "british", "american", "scottish"),
)
VARIANTS = "linda m6 steph m7 rob f2 john aunty paul ian belinda quincy zac f4 victor travis Gene m1 f1 m3".split()
NUM_PLAIN = 40
HELD_OUT = {
    "dev": [("lancaster", "f3"), ("received", "m8"), ("american", "Denis"), ("british", "m8")],
    "test": [
        *(("american", "f5"), ("british", "f5"), ("german", "f5"), ("indian", "f5")),
        *(("new york", "m5"), ("scottish", "m5"), ("french", "m5"), ("indian", "m5")),
        *(("american", "Hugo"), ("received", "robert"), ("spanish", "robert"), ("indian", "robert")),
        *(("american", "grandma"), ("lancaster", "Hugo"), ("german", "grandma"), ("indian", "grandma")),
    ],
}
POSITIONS = {
    "train": (speakers.TEST + speakers.DEV, 1.0),
    "dev": (speakers.TEST, speakers.TEST + speakers.DEV),
    "test": (0.0, speakers.TEST),
}
FEMALE = {"f1", "f2", "f3", "f4", "f5", "Annie", "linda", "steph", "belinda", "aunty", "grandma"}
NAMES = ("brook", "harper", "lark", "otter", "quill", "sailor", "tinker", "wren")
PROMPT_LISTS = ("a", "b", "ar-", "rp-", "cc-", "en-")


@dataclass(frozen=True)
class Sitting:
    """One submission: who reads, how, and what is odd about it. packed: it becomes an archive."""

    split: str
    folder: str
    user: str
    voice: Voice
    setting: Setting
    dialect: str
    quirk: str
    packed: bool
    prompt_list: str

    @property
    def gender(self) -> str:
        return "Female" if self.voice.variant in FEMALE else "Male"

    @property
    def speaker(self) -> str:
        return speakers.speaker_of(self.folder, self.user)


def cast(seed: int) -> Iterator[Sitting]:
    """Every submission; the odd ones come first. Users of the dev set come twice, then with a capital letter."""
    rng = np.random.default_rng((seed, 1))
    plain = islice(zip(cycle(ACCENTS), cycle(VARIANTS), strict=False), NUM_PLAIN)
    rows = [("train", *row) for row in QUIRKY] + [("train", *row, "", None) for row in plain]
    rows += [(split, *row, "", None) for split, people in HELD_OUT.items() for row in people]
    taken: set[str] = set()
    for number, (split, accent, variant, quirk, dialect) in enumerate(rows):
        user, folder = person(split, quirk, number, taken, rng)
        written = DIALECTS[accent][number % len(DIALECTS[accent])] if dialect is None else dialect
        voice = Voice(accent, variant, speed_wpm=int(rng.integers(155, 186)), pitch=int(rng.integers(40, 61)))
        setting = Setting(str(rng.choice(["white", "pink", "hum"])), snr_db=float(rng.integers(20, 41)))
        prompt_list = PROMPT_LISTS[number % len(PROMPT_LISTS)]
        one = Sitting(split, folder, user, voice, setting, written, quirk, number % 2 == 1, prompt_list)
        taken.add(one.speaker)
        yield one
        if split == "dev":
            again = user.capitalize()
            yield replace(one, user=again, folder=folder_of(again, "", number + 1, rng), packed=not one.packed)


def person(split: str, quirk: str, number: int, taken: set[str], rng: np.random.Generator) -> tuple[str, str]:
    """A user and a folder whose speaker is new and falls in the split."""
    low, high = POSITIONS[split]
    for attempt in count(1):
        user = speakers.ANONYMOUS if quirk.startswith("anonymous") else f"{NAMES[number % len(NAMES)]}{attempt}"
        folder = folder_of(user, quirk, number, rng)
        speaker = speakers.speaker_of(folder, user)
        if low <= speakers.position(speaker) < high and speaker not in taken:
            return user, folder
    raise AssertionError


def folder_of(user: str, quirk: str, number: int, rng: np.random.Generator) -> str:
    if quirk == "odd name":
        return f"tales of {user}"
    date = f"{2008 + number % 6}{1 + number % 12:02d}{1 + number % 28:02d}"
    letters = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size=3))
    if quirk == "new application":
        return f"EN-{user}-{date}-{letters}{1_500_000_000 + number}"
    return f"{user}-{date}-{letters}"
