"""AISHELL-1 (OpenSLR 33) as Lhotse cuts: its speakers in folders or in archives, one transcript for all."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lhotse import CutSet
from tqdm import tqdm

from ds2toolkit.data.archive import unpack, unpack_all
from ds2toolkit.data.corpus import Corpus, read_lines
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

TITLE, NAME = "AISHELL-1", "data_aishell"
LANDMARK = "transcript/aishell_transcript_v0.8.txt"
URL = "http://www.openslr.org/resources/33"
ARCHIVES = {  # name: size in bytes, md5
    "data_aishell.tgz": (15_582_913_665, "2f494334227864a8a8fec932999db9d8"),
    "resource_aishell.tgz": (1_246_920, "957d480a0fcac85fc18e550756f624e5"),
}
SPLITS = ("train", "dev", "test")
GENDERS = {"F": "female", "M": "male"}


def read(root: Path, home: Path, report: Report, scratch: Path) -> dict[str, CutSet]:
    """The splits of `root`, the folder data_aishell; `home` is where resource_aishell stands, packed or not.

    The condition is the speaker's gender where speaker.info tells it. File by file: Lhotse's recipe ends at
    the first damaged one and knows no packed speakers. Raises DataError when there is no audio.
    """
    texts = read_transcripts(root / LANDMARK, report)
    paths, damaged = find_audio(root / "wav", texts, scratch / "speakers", report)
    if not paths:
        found = report.notes[0] if damaged else describe(root / "wav")
        looked = "looked for wav/train/S0002/*.wav or wav/S0002.tar.gz"
        raise DataError(f"no audio in {root}: {looked}.\n{found}.")
    genders = read_genders(home, scratch)
    corpus = Corpus(report)
    for path in tqdm(paths, desc="reading AISHELL-1", unit="utt", leave=False, disable=None):
        add(corpus, path, texts, genders)
    report_unheard(texts, paths, damaged, report)
    return corpus.cuts()


def read_transcripts(path: Path, report: Report) -> dict[str, str]:
    """Texts by utterance id, from lines `BAC009S0002W0122 而 对 楼市 成交`."""
    texts: dict[str, str] = {}
    for line in read_lines(path):
        name, *text = line.split(maxsplit=1)
        if name in texts:
            report.drop("-", name, "second transcript", line)
        else:
            texts[name] = "".join(text)
    return texts


def speaker_of(name: str) -> str:
    """`BAC009S0002W0122` was spoken by `S0002`."""
    return name[6:11]


def find_audio(
    wav: Path, texts: Mapping[str, str], scratch: Path, report: Report
) -> tuple[list[Path], dict[str, Path]]:
    """Every wav file, one path an utterance; and the damaged archives by speaker.

    The archive of a speaker whose folder lacks no transcribed utterance stays packed; else what is in it goes
    before what is in the folder, which an interrupted tar may have left.
    """
    extracted = audio_files(wav)
    lacking = {speaker_of(name) for name in texts.keys() - {path.stem for path in extracted}}
    complete = {path.parent.name for path in extracted} - lacking
    archives = {path.name.partition(".")[0]: path for path in wav.glob("*.tar.gz")}
    wanted = {speaker: archives[speaker] for speaker in sorted(archives.keys() - complete)}
    folders, damaged = unpack_speakers(wanted, scratch, report)
    unpacked = [path for folder in folders for path in audio_files(folder)]
    by_place = {path.parts[-3:]: path for path in extracted + unpacked}
    return sorted(by_place.values(), key=lambda path: (SPLITS.index(path.parts[-3]), path.stem)), damaged


def audio_files(folder: Path) -> list[Path]:
    return [path for split in SPLITS for path in (folder / split).glob("*/*.wav")]


def unpack_speakers(
    archives: Mapping[str, Path], scratch: Path, report: Report
) -> tuple[list[Path], dict[str, Path]]:
    """Unpack archives by speaker below `scratch`: the folders, and the archives that are damaged."""
    folders = {path: scratch / f"{who}-{path.stat().st_size}" for who, path in archives.items()}
    faults = unpack_all(folders, "unpacking AISHELL-1")
    damaged = {who: path for who, path in archives.items() if path in faults}
    report.notes += [f"left out the speaker {who}: {faults[path]}" for who, path in damaged.items()]
    return [folder for path, folder in folders.items() if path not in faults], damaged


def read_genders(home: Path, scratch: Path) -> dict[str, str | None]:
    """Gender by speaker, from lines `0002 F` of speaker.info; nothing where the copy lacks that file."""
    folder, archive = home / "resource_aishell", home / "resource_aishell.tgz"
    if not folder.exists() and archive.exists():
        folder = unpack(archive, scratch / folder.name) / folder.name
    path = folder / "speaker.info"
    rows = [f"{line} -".split() for line in read_lines(path)] if path.exists() else []
    return {f"S{number}": GENDERS.get(sex) for number, sex, *_ in rows}


def add(corpus: Corpus, path: Path, texts: Mapping[str, str], genders: Mapping[str, str | None]) -> None:
    split, who = path.parts[-3:-1]
    if path.stem not in texts:
        corpus.report.drop(split, path.stem, "no transcript", str(path))
    else:
        gender = genders.get(who)
        corpus.add(split, path, path.stem, texts[path.stem], who, gender, gender, language="Chinese")


def report_unheard(
    texts: Iterable[str], paths: Iterable[Path], damaged: Mapping[str, Path], report: Report
) -> None:
    """Transcripts without audio: line by line for the speakers that the copy has, else one note."""
    splits = {path.parent.name: path.parts[-3] for path in paths}
    lacking = []
    for name in sorted(set(texts) - {path.stem for path in paths}):
        who = speaker_of(name)
        if who in damaged:
            report.drop(splits.get(who, "-"), name, "in a damaged archive", str(damaged[who]))
        elif who in splits:
            report.drop(splits[who], name, "no audio file", f"not among the files of {who}")
        else:
            lacking.append(who)
    if lacking:
        people = " ".join(sorted(set(lacking)))
        report.notes.append(f"{len(lacking)} transcripts are of speakers that this copy lacks: {people}")
