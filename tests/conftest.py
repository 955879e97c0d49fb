"""What several tests share: tones as speech, so that training tests need no corpus."""

import os
import signal
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings

from ds2toolkit.data.corpus import read_cut

settings.register_profile("ds2", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("ds2")

TONES_HZ = {"a": 400, "b": 800, "c": 1600, " ": 0}


@pytest.fixture(scope="session", autouse=True)
def quiet_threads():
    """Small problems run faster, and always the same, on one thread."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def denormals():
    """A verb that flushes them does so in its process for good; hypothesis draws them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def real_speech() -> Path:
    folder = os.environ.get("DS2_REAL_SPEECH")
    if not folder:
        pytest.skip("DS2_REAL_SPEECH names no folder of real speech")
    return Path(folder)


def spell(text: str, rng: np.random.Generator, letter_s: float = 0.12) -> np.ndarray:
    """A text as a row of tones, one a letter: float32 at 16 kHz."""
    time_T = np.arange(int(letter_s * 16000)) / 16000
    tones = [np.sin(2 * np.pi * TONES_HZ[letter] * time_T) * np.hanning(len(time_T)) for letter in text]
    clean_T = np.concatenate(tones)
    return (0.3 * clean_T + 0.01 * rng.standard_normal(len(clean_T))).astype(np.float32)


@pytest.fixture(scope="session")
def tone_cuts(tmp_path_factory):
    """24 utterances of tones for the letters a, b, c."""
    folder, rng = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    cuts = []
    for number in range(24):
        text = "".join(letter for letter, _ in groupby(rng.choice(list("abc"), size=rng.integers(4, 12))))
        path = folder / f"utt{number:02d}.wav"
        soundfile.write(path, spell(text, rng), 16000)
        cuts.append(read_cut(path, path.stem, text, f"speaker{number % 4}", condition="tone"))
    return cuts


def heed_ctrl_c() -> None:
    """For a child before it starts: a test run in the background ignores Ctrl-C, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
