"""Audio to hear in a page: the part of a file that is an utterance, as FLAC in a data URL."""

import base64
import io
from pathlib import Path

import soundfile

from ds2toolkit.score.hypotheses import Hypothesis


def data_url(one: Hypothesis) -> str | None:
    """None where the file is unknown, gone or can't be read."""
    if not one.audio or not Path(one.audio).is_file():
        return None
    try:
        with soundfile.SoundFile(one.audio) as file:
            rate_hz = file.samplerate
            file.seek(round(one.audio_start_s * rate_hz))
            samples_TC = file.read(round(one.duration_s * rate_hz), dtype="int16", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return None
    if not len(samples_TC) or one.audio_channel >= samples_TC.shape[1]:
        return None
    flac = io.BytesIO()
    soundfile.write(flac, samples_TC[:, one.audio_channel], rate_hz, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(flac.getvalue()).decode("ascii")
