"""The script of a toy CHiME: who says what, where, and what its transcript looks like."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ds2toolkit.toy.grammar import distinct, sentence
from ds2toolkit.toy.speech import Voice
from ds2toolkit.toy.studio import Setting

PLACES = {  # noise, signal-to-noise ratio in dB
    "BUS": ("bus", 4.0),
    "CAF": ("cafe", 10.0),
    "PED": ("pedestrian", 12.0),
    "STR": ("street", 10.0),
}
QUIET = ("BTH", "ORG")
BOOTH, ORIGINAL = Setting("pink", snr_db=40.0), Setting("pink", snr_db=35.0)
CLOSE_TALK_GAIN_DB = 18.0
REAL_ROOM_S, REAL_LOSS_DB = 0.2, 2.0
VOICES = {
    "tr05": "F02:f2 F03:steph M01:m1 M02:paul",
    "dt05": "F01:f3 F04:Alicia M03:m8 M04:Denis",
    "et05": "F05:f5 F06:grandma M05:m5 M06:robert",
}
WSJ0_VOICES = (
    "011:f1 012:m2 013:f4 014:m3 015:Annie 016:m4 017:linda 018:m6 019:aunty 01A:m7 "
    "01B:belinda 01C:rob 01D:john 01E:ian 01F:quincy 01G:zac 01I:victor 01J:travis 01K:Gene 01L:kaukovalta"
)
PROMPTERS = {"dt05": ("050", "051", "22G"), "et05": ("440", "441", "447")}
SENTENCES_A_SESSION = 20
VERBALISED = 4  # of ten sentences of training, this one was read with its full stop
BASE_36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Prompt:
    """A sentence of WSJ0."""

    wsj_name: str
    words: str
    number: int

    def dot(self, with_full_stop: bool = False) -> str:
        """As a .dot file has it: capitals, escapes and, by turns, marks of how it was said."""
        first, *middle, last = self.words.replace("'", r"\'").split()
        first, middle_words = first.capitalize(), " ".join(middle)
        marked = (
            f"{first} {middle_words} {last}",
            f"[loud_breath] {first} {middle_words} {last}",
            f"{first} {middle_words} {last} [misc_noise]",
            f"{first} {middle_words} *{last}*",
            f"{first} . {middle_words} {last}",
            f"{first} {middle_words} <{last}> [door_slam>]",
            f"{first} [tap/] {middle_words} [/tap] !{last}",
        )[self.number % 7]
        return marked + r" \.PERIOD" * with_full_stop


@dataclass(frozen=True)
class Utterance:
    """One recording of a prompt, through all its microphones."""

    split: str
    speaker: str
    prompt: Prompt
    place: str
    voice: Voice
    seed: tuple[int, ...]

    @property
    def kind(self) -> str:
        return self.split.rpartition("_")[2]

    @property
    def name(self) -> str:
        return f"{self.speaker}_{self.prompt.wsj_name}_{self.place}"

    @property
    def folder(self) -> str:
        part = self.split.partition("_")[0]
        return self.split if self.place in QUIET else f"{part}_{self.place.lower()}_{self.kind}"

    @property
    def with_full_stop(self) -> bool:
        return self.split in ("tr05_simu", "tr05_org") and self.prompt.number % 10 == VERBALISED

    @property
    def words(self) -> str:
        return self.prompt.words + " period" * self.with_full_stop

    @property
    def dot(self) -> str:
        return self.prompt.dot(self.with_full_stop)

    @property
    def setting(self) -> Setting:
        """What the tablet hears. Real recordings are farther from the mouth, and in a room or a bus."""
        if self.place in QUIET:
            return BOOTH if self.place == "BTH" else ORIGINAL
        noise, snr_db = PLACES[self.place]
        if self.kind == "real":
            return Setting(noise, snr_db - REAL_LOSS_DB, REAL_ROOM_S)
        return Setting(noise, snr_db)

    @property
    def close_talk(self) -> Setting:
        """What the microphone at the mouth hears: so little of the place that any noise will do."""
        return Setting("pink", PLACES[self.place][1] + CLOSE_TALK_GAIN_DB)


def plan(seed: int, sizes: Mapping[str, int]) -> Iterator[Utterance]:
    """Every utterance of the splits in `sizes`; texts and speakers of a part (tr05, dt05, et05) occur in no other.

    As in CHiME, a simulated utterance is one of tr05_org or of the booth with noise, and in dt05 and et05
    each sentence is read in each of the four places.
    """
    texts = distinct(sentence, np.random.default_rng(seed))
    for part in VOICES:
        prompts = list(write_prompts(part, sizes, texts))
        for split in (split for split in sizes if split.startswith(part)):
            yield from (perform(seed, split, number, prompts) for number in range(sizes[split]))


def write_prompts(part: str, sizes: Mapping[str, int], texts: Iterator[str]) -> Iterator[Prompt]:
    counts = [-(-count // num_readings(split)) for split, count in sizes.items() if split.startswith(part)]
    readers = PROMPTERS.get(part) or list(by_speaker(WSJ0_VOICES))
    for number, words in enumerate(islice(texts, max(counts, default=0))):
        session, turn = divmod(number // len(readers), SENTENCES_A_SESSION)
        yield Prompt(f"{readers[number % len(readers)]}C{session + 2:02d}{base_36(turn + 1)}", words, number)


def num_readings(split: str) -> int:
    """How often a sentence is read: in development and test once a place, but for the booth."""
    return 1 if split.startswith("tr05") or split.endswith("bth") else len(PLACES)


def by_speaker(voices: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in voices.split())


def base_36(number: int) -> str:
    return BASE_36[number // 36] + BASE_36[number % 36]


def perform(seed: int, split: str, number: int, prompts: list[Prompt]) -> Utterance:
    """The utterance of that number: by turns every speaker in every place."""
    part, kind = split.split("_")
    each = number // num_readings(split)
    prompt, voices = prompts[each], by_speaker(VOICES[part])
    place = {"bth": "BTH", "org": "ORG"}.get(kind) or list(PLACES)[(number + each // len(voices)) % len(PLACES)]
    if split in ("tr05_simu", "tr05_org"):
        voices, speaker = by_speaker(WSJ0_VOICES), prompt.wsj_name[:3]
    else:
        by_place = number if split in ("dt05_real", "et05_real") else 0
        speaker = list(voices)[(each + by_place) % len(voices)]
    take = f"{speaker}_{prompt.wsj_name}" + f"_{place}" * (kind == "real")
    key = (seed, zlib.crc32(take.encode()))
    speed_wpm, pitch = (int(x) for x in np.random.default_rng(key).integers((150, 42), (181, 59)))
    return Utterance(split, speaker, prompt, place, Voice("american", voices[speaker], speed_wpm, pitch), key)
