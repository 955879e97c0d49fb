"""Speech from espeak-ng: the same text in the same voice gives the same samples, whatever was said before.

espeak-ng comes in the wheel of espeakng-loader (GPLv3, so an extra) and is driven through ctypes. Its random
generator is seeded from the clock and its filters remember the last utterance; so the library is set up once
a process but never speaks in it: a fork speaks each utterance, from that untouched state and a fixed seed.
"""

import ctypes
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from ds2toolkit.errors import UserError
from ds2toolkit.toy import accents

SAMPLE_RATE_HZ = 16_000
ESPEAK_RATE_HZ = 22_050
BLOCK = (441, 320)  # as many samples at either rate
FAST_BLOCKS = 16  # a transform's length needs small factors to be fast
ACCENTS = {
    "american": "gmw/en-US",
    "british": "gmw/en",
    "received": "gmw/en-GB-x-rp",
    "scottish": "gmw/en-GB-scotland",
    "caribbean": "gmw/en-029",
    "new york": "gmw/en-US-nyc",
    "lancaster": "gmw/en-GB-x-gbclan",
    "midlands": "gmw/en-GB-x-gbcwmd",
    "indian": "inc/hi",
    "german": "gmw/de",
    "french": "roa/fr",
    "spanish": "roa/es",
    "mandarin": "sit/cmn",  # no accent: it reads Chinese characters
}
SYNCHRONOUS, NO_BUFFER, UTF_8, PHONEMES, ABSOLUTE = 2, 0, 1, 0x100, 0
BETWEEN_PHONEMES = ord("_") << 8
SPEED, PITCH, PITCH_RANGE = 1, 3, 4
RANDOM_SEED = 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how: an accent of ACCENTS, one of espeak-ng's voice variants, and prosody.

    speed_wpm: 80 to 450 words a minute; pitch and pitch_range: 0 to 100, where 50 is the variant's own.
    """

    accent: str = "american"
    variant: str = "m3"
    speed_wpm: int = 170
    pitch: int = 50
    pitch_range: int = 50

    @property
    def name(self) -> str:
        return f"{ACCENTS[self.accent]}+{self.variant}"


def speak(text: str, voice: Voice) -> np.ndarray:
    """`text` spoken: (num_samples,) float32 at 16 kHz within -1 … 1.

    Raises UserError when espeakng-loader is not installed, ValueError for an unknown accent or variant
    and for a text that makes no sound.
    """
    if voice.accent not in ACCENTS:
        raise ValueError(f"unknown accent {voice.accent!r}; known: {', '.join(ACCENTS)}")
    if voice.variant not in variants():
        raise ValueError(f"unknown voice variant {voice.variant!r}; known: {', '.join(sorted(variants()))}")
    samples = np.frombuffer(_in_fork(text, voice), dtype=np.int16)
    if not samples.any():
        raise ValueError(f"espeak-ng made no sound of {text!r} in the voice {voice.name!r}")
    return np.clip(resample(samples / 32768), -1, 1).astype(np.float32)


def resample(samples: np.ndarray) -> np.ndarray:
    """From 22,050 to 16,000 Hz, by leaving out what the spectrum has above 8 kHz. Rounds the length up."""
    num_blocks = FAST_BLOCKS * -(-len(samples) // (BLOCK[0] * FAST_BLOCKS))
    spectrum = np.fft.rfft(samples, num_blocks * BLOCK[0])[: num_blocks * BLOCK[1] // 2 + 1]
    num_resampled = -(-len(samples) * BLOCK[1] // BLOCK[0])
    return np.fft.irfft(spectrum)[:num_resampled] * BLOCK[1] / BLOCK[0]


@functools.cache
def variants() -> frozenset[str]:
    """espeak-ng's voice variants; it would take the accent's plain voice for a name that it does not know."""
    return frozenset(path.name for path in Path(_loader().get_data_path(), "voices", "!v").iterdir())


def _in_fork(text: str, voice: Voice) -> bytes:
    """16-bit samples at 22,050 Hz from a child process; nothing when espeak-ng does not know the voice."""
    library = _library()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)  # else a child whose parent has died would wait for itself to read
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(_synthesise(library, text, voice))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise RuntimeError(f"espeak-ng died while saying {text!r} in the voice {voice.name!r}")
    return data


def _loader() -> ModuleType:
    try:
        import espeakng_loader
    except ImportError:
        raise UserError("toy speech needs espeak-ng, an extra.\nRun: pip install -e .[toy]") from None
    return espeakng_loader


@functools.cache
def _library() -> ctypes.CDLL:
    """espeak-ng, set up but never used in this process."""
    library = ctypes.CDLL(str(_loader().get_library_path()))
    data = str(_loader().get_data_path()).encode()
    rate_hz = library.espeak_Initialize(SYNCHRONOUS, NO_BUFFER, data, 0)
    if rate_hz != ESPEAK_RATE_HZ:
        raise RuntimeError(f"espeak_Initialize returned {rate_hz} instead of {ESPEAK_RATE_HZ}")
    return library


def _synthesise(library: ctypes.CDLL, text: str, voice: Voice) -> bytes:
    chunks = []

    @CALLBACK
    def keep(samples, num_samples: int, _events) -> int:
        if samples and num_samples > 0:
            chunks.append(ctypes.string_at(samples, num_samples * ctypes.sizeof(ctypes.c_short)))
        return 0

    ctypes.CDLL(None).srand(RANDOM_SEED)
    library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
    library.espeak_SetSynthCallback(keep)
    if voice.accent in accents.HABITS:
        text = accents.respell(_phonemes(library, text), voice.accent)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        return b""
    for parameter, value in (
        (SPEED, voice.speed_wpm),
        (PITCH, voice.pitch),
        (PITCH_RANGE, voice.pitch_range),
    ):
        library.espeak_SetParameter(parameter, value, ABSOLUTE)
    data = text.encode()
    library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, UTF_8 | PHONEMES, None, None)
    library.espeak_Synchronize()
    return b"".join(chunks)


def _phonemes(library: ctypes.CDLL, text: str) -> str:
    """Those of American English in espeak-ng's mnemonics, "_" between them and spaces between words."""
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_SetVoiceByName(ACCENTS["american"].encode())
    data = ctypes.create_string_buffer(text.encode())
    rest, clauses = ctypes.c_void_p(ctypes.addressof(data)), []
    while rest.value:
        clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), UTF_8, BETWEEN_PHONEMES).decode())
    return " ".join(clauses)
