"""Writes a made-up MUSAN: its exact tree of music, noise and speech, two files a branch, in a few seconds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from ds2toolkit.files import whole_folder
from ds2toolkit.toy import acoustics
from ds2toolkit.toy.grammar import sentence
from ds2toolkit.toy.speech import SAMPLE_RATE_HZ, Voice, speak

RMS = 0.1
MUSIC = {  # genres, whether somebody sings, artist: the last may have spaces
    "fma": (("electronic,rock", "N", "Ada Brook"), ("blues", "Y", "Cullah")),
    "fma-western-art": (("baroque", "N", "Ivo Land"), ("romantic,solo", "N", "The Farrow Quartet")),
    "hd-classical": (("classical", "N", "Hollis"), ("classical", "N", "Quist")),
    "jamendo": (("folk", "Y", "Max Thorn"), ("pop", "Y", "Nell")),
    "rfm": (("jazz", "N", "Ruth Hollis"), ("country", "N", "Otto")),
}
NOISE = {  # longer than an utterance, and shorter
    "free-sound": (("pink", 12.0), ("hum", 2.5)),
    "sound-bible": (("white", 8.0), ("pink", 3.0)),
}
SPEECH = {
    "librivox": (("f", "british", "f2"), ("m", "american", "m2")),
    "us-gov": (("m", "american", "m6"), ("f", "american", "f4")),
}
MUSIC_S, SPEECH_SENTENCES = 8.0, 3
SCALE_HZ = (220.0, 247.5, 275.0, 330.0, 367.5, 440.0)
README = "A made-up corpus in MUSAN's layout. Good for trying a recipe.\n"
LICENSE = "Made by ds2toolkit; no rights are claimed in these recordings.\n"


def toy(folder: Path, seed: int = 0) -> None:
    """Write `folder`/musan, whole or not at all; one that is there already stays. One seed, the same bytes."""
    if (folder / "musan").exists():
        return
    with whole_folder(folder / "musan") as root:
        (root / "README").write_text(README, encoding="utf-8")
        for part, files in (("music", music(seed)), ("noise", noise(seed)), ("speech", speech(seed))):
            write_part(root / part, files)


def write_part(folder: Path, files: Iterator[tuple[str, str, str, np.ndarray]]) -> None:
    """Write files given as (branch, id, annotation, samples); an empty annotation has no line."""
    for branch, name, annotation, samples in files:
        place = folder / branch
        place.mkdir(parents=True, exist_ok=True)
        (place / "LICENSE").write_text(LICENSE, encoding="utf-8")
        write_wav(place / f"{name}.wav", samples * RMS / np.sqrt(np.mean(np.square(samples))))
        if annotation:
            with (place / "ANNOTATIONS").open("a", encoding="utf-8") as lines:
                lines.write(f"{name} {annotation}\n")


def write_wav(path: Path, samples: np.ndarray) -> None:
    """(num_samples,) or (num_samples, channels) within -1 … 1 as 16-bit PCM at 16 kHz."""
    soundfile.write(path, np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16), SAMPLE_RATE_HZ)


def music(seed: int) -> Iterator[tuple[str, str, str, np.ndarray]]:
    for branch, pieces in MUSIC.items():
        for number, piece in enumerate(pieces):
            rng = np.random.default_rng((seed, 1, list(MUSIC).index(branch), number))
            yield branch, f"music-{branch}-{number:04d}", " ".join(piece), melody(MUSIC_S, rng)


def melody(duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Plucked notes, two at a time and each with five harmonics."""
    note_s = float(rng.uniform(0.2, 0.5))
    times_s = np.arange(round(note_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    decay = np.exp(-4 * times_s / note_s)
    notes = [
        decay * sum(np.sin(2 * np.pi * k * hz * times_s) / k for hz in rng.choice(SCALE_HZ, 2) for k in range(1, 6))
        for _ in range(round(duration_s / note_s))
    ]
    return np.concatenate(notes)


def noise(seed: int) -> Iterator[tuple[str, str, str, np.ndarray]]:
    for branch, kinds in NOISE.items():
        for number, (kind, duration_s) in enumerate(kinds):
            rng = np.random.default_rng((seed, 2, list(NOISE).index(branch), number))
            samples = acoustics.NOISES[kind](round(duration_s * SAMPLE_RATE_HZ), rng)
            yield branch, f"noise-{branch}-{number:04d}", "", samples


def speech(seed: int) -> Iterator[tuple[str, str, str, np.ndarray]]:
    for branch, people in SPEECH.items():
        for number, (gender, accent, variant) in enumerate(people):
            rng = np.random.default_rng((seed, 3, list(SPEECH).index(branch), number))
            text = ". ".join(sentence(rng) for _ in range(SPEECH_SENTENCES))
            yield branch, f"speech-{branch}-{number:04d}", f"{gender} english", speak(text, Voice(accent, variant))
