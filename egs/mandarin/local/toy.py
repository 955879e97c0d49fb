"""Writes a made-up AISHELL-1 or THCHS-30, spoken by espeak-ng: tree, text files and quirks."""

import gzip
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ds2toolkit.files import whole_folder, write_text
from ds2toolkit.toy.grammar import distinct
from ds2toolkit.toy.mandarin import phones, pinyin, sentence, sentence_with_letter, spoken, vocabulary
from ds2toolkit.toy.speech import Voice
from ds2toolkit.toy.studio import Setting, Take, write_all

SIZES = {"train": 1000, "dev": 60, "test": 100}
VARIANTS = {
    "train": "f1 m1 f2 m2 f4 m3 Annie m4 linda m6 steph m7 aunty rob belinda john paul quincy zac Gene",
    "dev": "f3 m8 Denis steph2",
    "test": "f5 m5 grandma robert miguel Hugo",
}
FEMALE = {"f1", "f2", "f3", "f4", "f5", "Annie", "linda", "steph", "steph2", "belinda", "aunty", "grandma"}
LETTER_EVERY = 10  # utterances
FIRST_SPEAKER = {"train": 2, "dev": 724, "test": 764}  # of AISHELL-1
FIRST_SENTENCE = 122
SENTENCES = {"train": "AB", "dev": "C", "test": "D"}  # THCHS-30's groups of sentences
STRAY = " l ="
LINKED = {"train": ("link", "link"), "dev": ("link", "text"), "test": ("text", "text")}  # .wav, .wav.trn
README = "A made-up corpus in the layout of {}, read by espeak-ng. Good for trying a recipe.\n"


@dataclass(frozen=True)
class Reading:
    """One utterance: speaker and utterance are counted from 0, in the split and in the speaker."""

    split: str
    speaker: int
    number: int
    words: str
    voice: Voice
    setting: Setting

    def take(self, path: Path, seed: int) -> Take:
        own_seed = (seed, list(VARIANTS).index(self.split), self.speaker, self.number)
        return Take(path, spoken(self.words), self.voice, self.setting, own_seed)


def toy(corpus_dir: Path, seed: int = 0, sizes: Mapping[str, int] = SIZES, corpus: str = "aishell") -> None:
    """Write `corpus_dir`/data_aishell or data_thchs30, whole or not at all; one that is there already stays.

    sizes: utterances a split. Speakers and sentences of one occur in no other. One seed, the same bytes.
    """
    write = {"aishell": write_aishell, "thchs30": write_thchs30}[corpus]
    if not (corpus_dir / f"data_{corpus}").exists():
        with whole_folder(corpus_dir / f"data_{corpus}") as root:
            write(root, corpus_dir, list(readings(seed, sizes)), seed)


def readings(seed: int, sizes: Mapping[str, int]) -> Iterator[Reading]:
    """What is said by whom and where; a Latin letter comes up from the first utterance of a split on."""
    rng = np.random.default_rng(seed)
    plain, lettered = distinct(sentence, rng), distinct(sentence_with_letter, rng)
    for split, size in sizes.items():
        people = list(cast(seed, split))[: max(2, size // 2)]
        for index in range(size):
            number, who = divmod(index, len(people))
            words = next(plain if index % LETTER_EVERY else lettered)
            yield Reading(split, who, number, words, *people[who])


def cast(seed: int, split: str) -> Iterator[tuple[Voice, Setting]]:
    """Each speaker's voice and quiet room, drawn by the seed."""
    rng = np.random.default_rng((seed, list(VARIANTS).index(split)))
    for variant in VARIANTS[split].split():
        speed_wpm, pitch, snr_db = (int(x) for x in rng.integers((165, 42, 25), (191, 59, 41)))
        noise, rt60_s = str(rng.choice(["white", "pink", "hum"])), float(rng.choice([0.0, 0.15]))
        yield Voice("mandarin", variant, speed_wpm, pitch), Setting(noise, snr_db, rt60_s)


def record(readings: list[Reading], path: Callable[[Reading], Path], seed: int, title: str) -> None:
    write_all([reading.take(path(reading), seed) for reading in readings], f"speaking a toy {title}")


def write_aishell(root: Path, corpus_dir: Path, readings: list[Reading], seed: int) -> None:
    """Every other speaker in an archive; a last recording of the first speaker that nobody transcribed."""
    first = next(reading for reading in readings if reading.split == "train")
    lost = Reading(first.split, first.speaker, 800, first.words, first.voice, first.setting)
    record([*readings, lost], lambda reading: root / "wav" / aishell_path(reading), seed, "AISHELL-1")
    lines = sorted(f"{aishell_path(reading).stem} {reading.words}\n" for reading in readings)
    (root / "transcript").mkdir()
    (root / "transcript" / "aishell_transcript_v0.8.txt").write_text("".join(lines), encoding="utf-8")
    for folder in sorted({aishell_path(reading).parent for reading in readings if reading.speaker % 2}):
        pack(root / "wav", folder)
    genders = {aishell_path(reading).parent.name[1:]: reading.voice.variant in FEMALE for reading in readings}
    info = "".join(f"{number} {'F' if female else 'M'}\n" for number, female in sorted(genders.items()))
    write_text(corpus_dir / "resource_aishell" / "speaker.info", info)
    write_text(corpus_dir / "resource_aishell" / "lexicon.txt", lexicon())


def aishell_path(reading: Reading) -> Path:
    """`train/S0002/BAC009S0002W0122.wav`, below wav/."""
    speaker = f"S{FIRST_SPEAKER[reading.split] + reading.speaker:04d}"
    return Path(reading.split, speaker, f"BAC009{speaker}W{FIRST_SENTENCE + reading.number:04d}.wav")


def pack(wav: Path, folder: Path) -> None:
    """Put a speaker's folder below `wav` into the archive `wav`/S0002.tar.gz, as it was shipped."""
    archive = wav / f"{folder.name}.tar.gz"
    with gzip.GzipFile(archive, "wb", mtime=0) as file, tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(wav / folder, str(folder), filter=timeless)
    shutil.rmtree(wav / folder)


def timeless(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same bytes whoever packs it, and whenever."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def write_thchs30(root: Path, corpus_dir: Path, readings: list[Reading], seed: int) -> None:
    """Splits of links and of text files that hold a path; a stray ` l =` in the first training transcript."""
    record(readings, lambda reading: root / "data" / f"{thchs30_name(reading)}.wav", seed, "THCHS-30")
    stray = next(reading for reading in readings if reading.split == "train")
    by_split = defaultdict(list)
    for reading in readings:
        name = thchs30_name(reading)
        by_split[reading.split].append(name)
        transcript = three_lines(reading.words, STRAY if reading is stray else "")
        (root / "data" / f"{name}.wav.trn").write_text(transcript, encoding="utf-8")
    for split, names in by_split.items():
        link(root / split, names, *LINKED[split])
    write_text(root / "lm_word" / "lexicon.txt", lexicon())
    write_text(root / "README.TXT", README.format("THCHS-30"))
    noisy = corpus_dir / "test-noise" / "0db" / "cafe"
    noisy.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "data" / f"{by_split['test'][0]}.wav", noisy)


def thchs30_name(reading: Reading) -> str:
    """`A2_0`: a group of sentences and a person, then a sentence."""
    groups = SENTENCES[reading.split]
    return f"{groups[reading.speaker % len(groups)]}{reading.speaker + 2}_{reading.number}"


def three_lines(words: str, stray: str) -> str:
    """Words, pinyin and phones; what is stray goes behind the first word."""
    first, space, rest = words.partition(" ")
    return f"{first}{stray}{space}{rest}\n{' '.join(pinyin(words))}\n{' '.join(phones(words))}\n"


def link(folder: Path, names: list[str], audio: str, transcript: str) -> None:
    """Link to ../data, by symbolic links or, as where a disk knows none, by text files that hold the path."""
    folder.mkdir()
    for name in names:
        for file, form in ((f"{name}.wav", audio), (f"{name}.wav.trn", transcript)):
            target = f"../data/{file}"
            if form == "link":
                (folder / file).symlink_to(target)
            else:
                (folder / file).write_text(f"{target}\n", encoding="utf-8")


def lexicon() -> str:
    return "".join(f"{word} {' '.join(phones(word))}\n" for word in sorted(vocabulary()))
