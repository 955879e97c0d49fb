"""Writes a made-up LibriSpeech, spoken by espeak-ng: its exact tree and text files, in less than a minute."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from ds2toolkit.files import whole_folder
from ds2toolkit.toy.grammar import distinct, sentence
from ds2toolkit.toy.speech import Voice
from ds2toolkit.toy.studio import Setting, Take, write_all

SIZES = {"train-clean-100": 1500, "dev-clean": 100, "test-clean": 200, "test-other": 200}
FEMALE = {"f1", "f2", "f3", "f4", "f5", "Annie", "linda", "steph", "belinda", "aunty", "grandma"}
TRAINING_VARIANTS = (
    "f1 f2 f4 Annie linda steph aunty belinda m1 m2 m3 m4 m6 m7 "
    "rob john paul ian quincy zac victor travis Gene"
)
HELD_OUT = {
    "dev-clean": [("american", "f3"), ("british", "m8"), ("american", "Denis"), ("british", "f3")],
    "test-clean": [
        ("american", "f5"),
        ("american", "m5"),
        ("american", "Hugo"),
        ("american", "grandma"),
        ("british", "f5"),
        ("british", "m5"),
        ("british", "miguel"),
        ("british", "robert"),
    ],
    "test-other": [
        ("scottish", "f5"),
        ("scottish", "m5"),
        ("caribbean", "f5"),
        ("caribbean", "m5"),
        ("american", "robert"),
        ("british", "grandma"),
    ],
}
AS_IT_IS, TEN_DB, ROOM = ("", {}), ("10 dB", {"snr_db": 10.0}), ("room", {"rt60_s": 0.4})
BABBLE = ("babble", {"noise": "babble", "snr_db": 15.0})
HARDER = {
    "scottish": (AS_IT_IS, TEN_DB),
    "caribbean": (AS_IT_IS, TEN_DB),
    "american": (BABBLE, BABBLE),
    "british": (ROOM, ROOM),
}
NAMES = (
    "Ada Brook",
    "José Núñez",
    "M.T. | Max Thorn",
    "Ruth Hollis",
    "Ivo Land",
    "Nell Farrow",
    "Otto Quist",
)
BOOKS = {
    7001: ("A Small Grammar", "The Old King", "My Lost Lamp"),
    7002: ("Sentences of the River", "Where Is the Dog", "It's under the Window"),
}

SPEAKERS_HEAD = """\
; Some pipe(|) separated metadata about all LibriVox readers, whose work was used
; in the corpus.
;
; The meaning of the fields in left-to-right order is as follows:
;
; reader_id: the ID of the reader in the LibriVox's database
; gender: 'F' for female, 'M' for male
; subset: the corpus subset to which the reader's audio is assigned
; duration: total number of minutes of speech by the reader, included in the corpus
; name: the name under which the reader is registered in LibriVox
;
;ID  |SEX| SUBSET           |MINUTES| NAME
"""
CHAPTERS_HEAD = """\
; Some pipe(|) separated metadata about the audio chapters included in the corpus.
;
; The meaning of the fields in left-to-right order is as follows:
;
; chapter_id: the ID of the chapter in the LibriVox's database
; reader_id: the ID of the reader in the LibriVox's database
; duration: how many minutes of this chapter are used in the corpus
; subset: the corpus subset to which this chapter is assigned
; project_id: the LibriVox project ID
; book_id: the Project Gutenberg's ID for the book on which the LibriVox project is based
; chapter_title: the title of the chapter on LibriVox
; project_title: the title of the LibriVox project
;
;ID    |READER|MINUTES| SUBSET           | PROJ.|BOOK ID| CH. TITLE | PROJECT TITLE
"""
BOOKS_HEAD = "; book_id | title\n"
CONDITIONS_HEAD = """\
; Conditions by which error rates are reported, one a chapter. Not a file of the real corpus;
; one like it may be added there.
;
; chapter_id | condition
"""
README = "A made-up corpus in LibriSpeech's layout, read by espeak-ng. Good for trying a recipe.\n"
LICENSE = "Made by ds2toolkit; no rights are claimed in these recordings.\n"


@dataclass(frozen=True)
class Chapter:
    """One reader in one place."""

    split: str
    reader: int
    chapter: int
    voice: Voice
    condition: str
    setting: Setting

    @property
    def folder(self) -> Path:
        return Path(self.split, str(self.reader), str(self.chapter))

    @property
    def name(self) -> str:
        return f"{self.reader}-{self.chapter}"


def toy(corpus_dir: Path, seed: int = 0, sizes: Mapping[str, int] = SIZES) -> None:
    """Write `corpus_dir`/LibriSpeech, whole or not at all; a corpus that is there already stays as it is.

    sizes: utterances a subset. Readers and sentences of one occur in no other. One seed, the same bytes.
    """
    if (corpus_dir / "LibriSpeech").exists():
        return
    texts = distinct(sentence, np.random.default_rng(seed))
    with whole_folder(corpus_dir / "LibriSpeech") as root:
        readings = []
        for split in sorted(sizes):
            chapters = spread([chapter for chapter in cast(seed) if chapter.split == split], sizes[split])
            readings += plan(root, seed, chapters, islice(texts, sizes[split]))
        durations_s = write_all([take for _, take in readings], "speaking a toy LibriSpeech")
        write_transcripts(readings)
        write_tables(root, readings, durations_s)


def cast(seed: int) -> Iterator[Chapter]:
    """Every chapter of every reader: two each, in voices and settings drawn by the seed."""
    rng = np.random.default_rng((seed, 1))
    accents = cycle(("american", "british", "american", "british", "received"))
    training = list(zip(accents, TRAINING_VARIANTS.split() * 2, strict=False))
    for number, (split, people) in enumerate({"train-clean-100": training, **HELD_OUT}.items(), start=1):
        for reader, (accent, variant) in enumerate(people, start=1000 * number):
            voice = Voice(
                accent, variant, speed_wpm=int(rng.integers(155, 186)), pitch=int(rng.integers(40, 61))
            )
            for part in range(2):
                yield Chapter(split, reader, 10 * reader + part, voice, *scene(split, accent, part, rng))


def scene(split: str, accent: str, part: int, rng: np.random.Generator) -> tuple[str, Setting]:
    """The condition and the setting of a chapter: calm, but for half of test-other."""
    accent = "british" if accent == "received" else accent
    calm = Setting(
        noise=str(rng.choice(["white", "pink", "hum"])),
        snr_db=float(rng.integers(15 if split.startswith("train") else 25, 41)),
        rt60_s=float(rng.choice([0.0, 0.15, 0.25])),
    )
    if split != "test-other":
        return accent, calm
    name, changes = HARDER[accent][part]
    return f"{accent}, {name}" if name else accent, replace(calm, **changes)


def spread(chapters: list[Chapter], num_utterances: int) -> list[Chapter]:
    """A chapter for each utterance: all of them in turn, or the first few where there are few utterances."""
    num_chapters = min(len(chapters), max(2, num_utterances // 2))
    return [chapters[index % num_chapters] for index in range(num_utterances)]


def plan(
    root: Path, seed: int, chapters: list[Chapter], texts: Iterator[str]
) -> Iterator[tuple[Chapter, Take]]:
    counts: Counter[int] = Counter()
    for chapter, text in zip(chapters, texts, strict=True):
        number = counts[chapter.chapter]
        counts[chapter.chapter] += 1
        path = root / chapter.folder / f"{chapter.name}-{number:04d}.flac"
        voice = replace(chapter.voice, speed_wpm=chapter.voice.speed_wpm + 5 * (number % 3 - 1))
        yield chapter, Take(path, text, voice, chapter.setting, seed=(seed, chapter.chapter, number))


def write_transcripts(readings: list[tuple[Chapter, Take]]) -> None:
    lines: dict[Path, list[str]] = defaultdict(list)
    for chapter, take in readings:
        lines[take.path.with_name(f"{chapter.name}.trans.txt")].append(
            f"{take.path.stem} {take.text.upper()}\n"
        )
    for path, text in lines.items():
        path.write_text("".join(text), encoding="utf-8")


def write_tables(root: Path, readings: list[tuple[Chapter, Take]], durations_s: list[float]) -> None:
    """SPEAKERS.TXT and the other tables beside the subsets."""
    reader_s, chapter_s = Counter(), Counter()
    for (chapter, _), duration_s in zip(readings, durations_s, strict=True):
        reader_s[chapter.reader] += duration_s
        chapter_s[chapter.chapter] += duration_s
    used = {chapter.chapter: chapter for chapter, _ in readings}
    readers = {chapter.reader: chapter for chapter in used.values()}
    tables = {
        "SPEAKERS.TXT": SPEAKERS_HEAD
        + "".join(speaker_row(c, reader_s[c.reader] / 60) for c in readers.values()),
        "CHAPTERS.TXT": CHAPTERS_HEAD
        + "".join(chapter_row(c, chapter_s[c.chapter] / 60) for c in used.values()),
        "BOOKS.TXT": BOOKS_HEAD + "".join(f"{book} | {title}\n" for book, (title, *_) in BOOKS.items()),
        "CONDITIONS.TXT": CONDITIONS_HEAD + "".join(f"{c.chapter} | {c.condition}\n" for c in used.values()),
        "README.TXT": README,
        "LICENSE.TXT": LICENSE,
    }
    for name, text in tables.items():
        (root / name).write_text(text, encoding="utf-8")


def speaker_row(chapter: Chapter, minutes: float) -> str:
    sex = "F" if chapter.voice.variant in FEMALE else "M"
    name = NAMES[chapter.reader % 1000 % len(NAMES)]
    return f"{chapter.reader:<4} | {sex} | {chapter.split:<16} | {minutes:5.2f} | {name}\n"


def chapter_row(chapter: Chapter, minutes: float) -> str:
    book, (project, *titles) = list(BOOKS.items())[chapter.reader % len(BOOKS)]
    title = titles[chapter.chapter % 2]
    return (
        f"{chapter.chapter:<6} | {chapter.reader:<4} | {minutes:5.2f} | {chapter.split:<16} "
        f"| {book - 6990:<4} | {book:<5} | {title} | {project}\n"
    )
