"""Writes a made-up CHiME-3 or CHiME-4, spoken by espeak-ng: its tree, all microphones, every source of transcripts."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import soundfile

from ds2toolkit.files import whole_folder
from ds2toolkit.recipe import sibling
from ds2toolkit.toy.speech import Voice
from ds2toolkit.toy.studio import Setting, Take, write_all, write_samples

script = sibling(__file__, "script")

SIZES = {
    "tr05_real": 160, "tr05_simu": 800, "tr05_bth": 16, "tr05_org": 40,
    "dt05_real": 60, "dt05_simu": 60, "dt05_bth": 16,
    "et05_real": 120, "et05_simu": 120, "et05_bth": 60,
}  # fmt: skip
AUDIO, ONE_CHANNEL = Path("data/audio/16kHz"), "isolated_1ch_track"
RECORDED, BACKWARDS, OTHERS = 5, 2, (1, 3, 4, 6)  # the others are CH5 under more names
BACKWARDS_GAIN, BACKWARDS_DELAY = 0.4, 2  # the latter in samples
BROKEN = {2: 5, 3: 4}  # number in tr05_real -> the channel whose file is missing
WEAK = 5  # number in each real set of the recording of which CH5 hardly correlates with the others
WITHOUT_DOT_ALL = ("tr05_simu", "tr05_org", "dt05_simu")
NUM_WV1 = 4
NDX_HEAD = ";; File: tr_s_wv1.ndx\n;;\n;; Index for WSJ0 SI-short Sennheiser training data\n;;\n"
DAYS = {"BUS": "150204", "CAF": "150205", "PED": "150203", "STR": "150211", "BTH": "141106"}


def toy(corpus_dir: Path, seed: int = 0, sizes: Mapping[str, int] = SIZES, track: str = "isolated") -> None:
    """Write `corpus_dir`/CHiME3, or CHiME4 (no booth, no originals) where `track` is its 1-channel track.

    Whole or not at all; a corpus that is there already stays as it is. sizes: utterances a split. One seed, the
    same bytes. A part's texts and speakers occur in no other part; its WSJ0 lies in data/WSJ0, its discs merged.
    """
    chime4 = track == ONE_CHANNEL
    home = corpus_dir / ("CHiME4" if chime4 else "CHiME3")
    if home.exists():
        return
    utterances = [one for one in script.plan(seed, sizes) if not (chime4 and one.kind in ("bth", "org"))]
    close_by = [one for one in utterances if one.kind == "real"]
    with whole_folder(home) as root:
        takes = [*(recorded(root, one) for one in utterances), *(close_talk(root, one) for one in close_by)]
        durations_s = write_all(takes, "speaking a toy CHiME")
        for one in utterances:
            spread(root, one, chime4)
        write_texts(root, dict(zip(utterances, durations_s, strict=False)))
        write_wsj0(root / "data/WSJ0/wsj0", utterances)
        write_backgrounds(root, seed)
        break_microphones(root, [one for one in utterances if one.split == "tr05_real"])


def file(root: Path, one, channel: int | None, folder: str = "isolated") -> Path:
    ending = ".wav" if channel is None else f".CH{channel}.wav"
    return root / AUDIO / folder / one.folder / f"{one.name}{ending}"


def recorded(root: Path, one) -> Take:
    channel = None if one.kind == "org" else RECORDED
    return Take(file(root, one, channel), one.words, one.voice, one.setting, one.seed)


def close_talk(root: Path, one) -> Take:
    return Take(file(root, one, 0), one.words, one.voice, one.close_talk, one.seed)


def spread(root: Path, one, chime4: bool) -> None:
    """The other microphones of a recording, and what CHiME-4's 1-channel track chose, which is never the second."""
    if one.kind == "org":
        return
    source = file(root, one, RECORDED)
    for channel in (*OTHERS, 0) if one.kind == "bth" else OTHERS:
        link(source, file(root, one, channel))
    samples, _ = soundfile.read(source, dtype="int16")
    quiet = (samples * BACKWARDS_GAIN).astype("int16")
    quiet[BACKWARDS_DELAY:] = quiet[:-BACKWARDS_DELAY].copy()
    write_samples(file(root, one, BACKWARDS), quiet)
    if chime4 and not one.split.startswith("tr05"):
        link(file(root, one, chosen(one)), file(root, one, None, ONE_CHANNEL))


def chosen(one) -> int:
    """The microphone of the 1-channel track."""
    return (1, 3, 4, 5, 6)[one.prompt.number % 5]


def link(source: Path, path: Path) -> None:
    """The same file under another name, where the disk knows such; else a copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, path)


def write_texts(root: Path, durations_s: Mapping[Any, float]) -> None:
    """transcriptions/ and annotations/, one file a split each; the lists of the 1-channel track; mic_error.csv."""
    splits = defaultdict(list)
    for one in durations_s:
        splits[one.split].append(one)
    correlations = "utterance,CH1,CH2,CH3,CH4,CH5,CH6\n"
    for split, ones in splits.items():
        if split not in WITHOUT_DOT_ALL:
            lines = sorted(f"{one.dot} ({one.name})\n" for one in ones)
            write(root / f"data/transcriptions/{split}.dot_all", lines)
        entries = json.dumps([annotation(one, durations_s[one]) for one in ones], indent=2)
        write(root / f"data/annotations/{split}.json", [entries])
        if (root / AUDIO / ONE_CHANNEL / ones[0].folder).exists():
            lines = [f"{one.folder}/{one.name}.CH{chosen(one)}.wav\n" for one in ones]
            write(root / f"data/annotations/{split}_1ch_track.list", lines)
        if split.endswith("real"):
            scores = [0.31 if number == WEAK else 0.97 for number in range(len(ones))]
            rows = zip(ones, scores, strict=True)
            correlations += "".join(f"{one.name},0.98,0.91,0.97,0.98,{score},0.96\n" for one, score in rows)
    write(root / "data/annotations/mic_error.csv", [correlations])


def annotation(one, duration_s: float) -> dict[str, Any]:
    """An entry of a split's .json; the text of real recordings ends in the id, as in .dot files."""
    session = f"{one.speaker}_{DAYS.get(one.place, '150101')}_{one.place}"
    end = round(duration_s, 3)
    entry = {"speaker": one.speaker, "wsj_name": one.prompt.wsj_name, "wavfile": session, "start": 0.0, "end": end}
    if one.kind != "org":
        entry["environment"] = one.place
    if one.kind == "simu":
        entry |= {"noise_wavfile": background(one.place), "noise_start": 0.0, "noise_end": end}
    return entry | {"dot": f"{one.dot} ({one.name})" if one.kind == "real" else one.dot}


def write_wsj0(wsj0: Path, utterances: Iterable) -> None:
    """The part of WSJ0 that CHiME needs: .dot files of the training sentences, their index, a few .wv1."""
    spoken = {one.prompt: one for one in utterances if one.split in ("tr05_simu", "tr05_org")}
    dots, index, takes = defaultdict(list), [], []
    for one in spoken.values():
        name = one.prompt.wsj_name.lower()
        path = f"wsj0/si_tr_s/{name[:3]}/{name}.wv1"
        dots[name[:6]].append(f"{one.dot} ({name})\n")
        index.append(f"11_1_1:{path}\n")
        takes.append(Take(wsj0.parent / path, one.words, one.voice, script.ORIGINAL, one.seed))
    for stem, lines in dots.items():
        write(wsj0 / f"transcrp/dots/si_tr_s/{stem[:3]}/{stem}00.dot", lines)
    write(wsj0 / "doc/indices/train/tr_s_wv1.ndx", [NDX_HEAD, *sorted(index)])
    write_all(takes[:NUM_WV1], "speaking a toy WSJ0")


def background(place: str) -> str:
    return f"BGD_{DAYS[place]}_010_{place}"


def write_backgrounds(root: Path, seed: int) -> None:
    """backgrounds/, embedded/ and enhanced/, which the recipe passes over."""
    prompt = script.Prompt("011C0201", "it's in the garden", 0)
    for number, (place, (noise, _)) in enumerate(script.PLACES.items()):
        one = script.Utterance("tr05_real", "F02", prompt, place, Voice(), (seed, number))
        path = root / AUDIO / f"backgrounds/{background(place)}.CH1.wav"
        take = Take(path, prompt.words, one.voice, Setting(noise, snr_db=-30.0), one.seed)
        write_all([take], "recording a place")
        copies = [path.with_name(f"{background(place)}.CH{channel}.wav") for channel in range(2, 7)]
        copies += [root / AUDIO / f"embedded/F02_{DAYS[place]}_{place}.CH{channel}.wav" for channel in range(7)]
        for copy in [*copies, file(root, one, None, "enhanced")]:
            link(path, copy)


def break_microphones(root: Path, real: list) -> None:
    for number, channel in BROKEN.items():
        if number < len(real):
            file(root, real[number], channel).unlink()


def write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")
