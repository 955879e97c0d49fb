"""CHiME-3 and CHiME-4 (LDC2017S24) as Lhotse cuts: one microphone of the tablet, by place and kind of recording."""

import csv
import re
from collections import defaultdict
from pathlib import Path

from lhotse import CutSet

from ds2toolkit.data.corpus import Corpus
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import ConfigError, DataError
from ds2toolkit.recipe import sibling
from ds2toolkit.text.dot import dot_words

transcripts = sibling(__file__, "transcripts")

AUDIO = Path("data/audio/16kHz")
ISOLATED = ("isolated", "isolated_6ch_track")  # the second is where some copies of CHiME-4 have dt05 and et05
ONE_CHANNEL = "isolated_1ch_track"
PARTS = {"tr05": "real simu bth org", "dt05": "real simu bth", "et05": "real simu bth"}
SPLITS = [f"{part}_{kind}" for part, kinds in PARTS.items() for kind in kinds.split()]
PLACES = {"BUS": "bus", "CAF": "cafe", "PED": "pedestrian", "STR": "street", "BTH": "booth", "ORG": None}
NAME = re.compile(rf"(?P<speaker>[0-9A-Z]{{3}})_[0-9A-Z]{{8}}_(?P<place>{'|'.join(PLACES)})")
GENDERS = {"F": "female", "M": "male"}
NUM_CHANNELS = 7
CLOSE_TALK = 0
WEAK_CORRELATION = 0.8
Recordings = dict[str, dict[str, Path]]  # CHiME's id -> "CH5" (or "" where the name has no channel) -> file


def prepare(corpus_dir: Path, report: Report, channel: int = 5, track: str = "isolated") -> dict[str, CutSet]:
    """The sets of `corpus_dir` (the folder with data/, or the one above): real, simulated, booth, original.

    channel: which microphone, 0 (close-talking; not of simulated sets) or 1 to 6. track: "isolated", or
    "isolated_1ch_track" for the channels that CHiME-4 chose in dt05 and et05, real and simulated.
    The condition is the place. Ids are CHiME's without the channel, with _REAL or _SIMU at the end. What can't
    be used goes to the report. Raises ConfigError for an option out of range, DataError when this is not CHiME.
    """
    check_options(channel, track)
    root = find_root(Path(corpus_dir), track)
    recordings = {split: find_recordings(root, split, track, report) for split in SPLITS}
    endings = {split: channel_ending(split, channel, track) for split in SPLITS}
    for split, ending in endings.items():
        if recordings[split] and split.endswith("simu") and ending == f"CH{CLOSE_TALK}":
            raise ConfigError(
                f"channel {CLOSE_TALK}, the close-talking microphone, was not simulated: {split} has CH1 to CH6.\n"
                "Choose one of those: --option channel=5"
            )
    corpus = Corpus(report)
    for split, found in recordings.items():
        if found:
            add(corpus, split, found, transcripts.read(root, split, set(found), report), endings[split])
            note_weak_microphones(corpus, split, root, endings[split])
        else:
            report.notes.append(f"{split}: no audio in this copy")
    return corpus.cuts()


def check_options(channel: int, track: str) -> None:
    if channel not in range(NUM_CHANNELS):
        raise ConfigError(f"option channel: expected 0 to {NUM_CHANNELS - 1}, got {channel!r}")
    if track not in (ISOLATED[0], ONE_CHANNEL):
        raise ConfigError(f"option track: expected {ISOLATED[0]} or {ONE_CHANNEL}, got {track!r}")


def find_root(corpus_dir: Path, track: str) -> Path:
    """The folder with data/ that has audio of the track."""
    roots = [corpus_dir, corpus_dir / "CHiME3", corpus_dir / "CHiME4"]
    tracks = ISOLATED if track in ISOLATED else (track,)
    for root in roots:
        if any(path for name in tracks for path in (root / AUDIO / name).glob("*/*.wav")):
            return root
    wanted = "CHiME-4" if track == ONE_CHANNEL else "CHiME-3 or CHiME-4"
    raise DataError(
        f"no {wanted} in {corpus_dir}: looked for {AUDIO / track}/*/*.wav there and in its CHiME3/ and CHiME4/.\n"
        f"{seems(corpus_dir, roots)}."
    )


def seems(corpus_dir: Path, roots: list[Path]) -> str:
    """What a folder without the audio is: a part of the corpus, a copy that is not whole, something else."""
    for above in corpus_dir.resolve().parents:
        if (above / AUDIO).is_dir():
            return f"That is a part of one: name {above}"
    for root in roots:
        if (root / "data/annotations").is_dir() or (root / AUDIO).parent.is_dir():
            reached = next(folder for folder in (root / AUDIO, *(root / AUDIO).parents) if folder.is_dir())
            return f"{reached} holds only {', '.join(sorted(path.name for path in reached.iterdir())) or 'nothing'}"
    return describe(corpus_dir)


def find_recordings(root: Path, split: str, track: str, report: Report) -> Recordings:
    """Every file of a split, from the first folder that has any."""
    part, kind = split.split("_")
    places = ("bus", "caf", "ped", "str")
    names = [split] if kind in ("bth", "org") else [f"{part}_{place}_{kind}" for place in places]
    for folder in [track] if one_channel(split, track) else ISOLATED:
        found: Recordings = defaultdict(dict)
        for path in (path for name in names for path in (root / AUDIO / folder / name).glob("*.wav")):
            name, _, ending = path.stem.partition(".")
            found[name][ending] = path
        if found:
            if folder == ISOLATED[1]:
                report.notes.append(f"{split}: from {folder}, {ISOLATED[0]} has none of it")
            return found
    return {}


def one_channel(split: str, track: str) -> bool:
    part, kind = split.split("_")
    return track == ONE_CHANNEL and part != "tr05" and kind in ("real", "simu")


def channel_ending(split: str, channel: int, track: str) -> str:
    return "" if split.endswith("org") or one_channel(split, track) else f"CH{channel}"


def add(corpus: Corpus, split: str, found: Recordings, texts: dict[str, str], ending: str) -> None:
    """Every utterance of a split that has a text, an audio file, or both."""
    kind = split.rpartition("_")[2].upper()
    for name in sorted(found.keys() | texts.keys()):
        utterance_id = f"{name}_{kind}" if kind in ("REAL", "SIMU") else name
        reason, detail = fault(name, found.get(name, {}), texts.get(name), ending)
        if reason:
            corpus.report.drop(split, utterance_id, reason, detail)
        else:
            path, raw = found[name][ending], texts[name]
            speaker, place = NAME.fullmatch(name).group("speaker", "place")
            gender = GENDERS.get(speaker[0])
            corpus.add(split, path, utterance_id, dot_words(raw), speaker, PLACES[place], gender, raw_text=raw)


def fault(name: str, files: dict[str, Path], text: str | None, ending: str) -> tuple[str, str]:
    """Why an utterance can't be used, as (reason, detail); two empty strings when it can."""
    if not NAME.fullmatch(name):
        return "unexpected name", f"expected SPEAKER_SENTENCE_PLACE, found {name}"
    if not files:
        return "no audio file", f"{name} has a transcript only"
    if ending not in files:
        return "channel is missing", f"no {ending}, only {' '.join(sorted(files))}"
    return ("", "") if text else ("no transcript", str(files[ending]))


def note_weak_microphones(corpus: Corpus, split: str, root: Path, ending: str) -> None:
    """Count the real recordings of a microphone that failed: it hardly correlates with the others (mic_error.csv)."""
    path = root / "data/annotations/mic_error.csv"
    if not split.endswith("real") or not ending or ending == f"CH{CLOSE_TALK}" or not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        weak = {f"{row[0]}_REAL" for row in csv.reader(file) if is_weak(row, int(ending[2:]))}
    if count := len(weak & corpus.splits[split].keys()):
        corpus.report.notes.append(
            f"{split}: {count} utterances kept whose {ending} correlates below {WEAK_CORRELATION} with the others"
        )


def is_weak(row: list[str], channel: int) -> bool:
    """row: an utterance, then a correlation for each of CH1 to CH6."""
    try:
        return float(row[channel]) < WEAK_CORRELATION
    except (ValueError, IndexError):  # the head of the table
        return False
