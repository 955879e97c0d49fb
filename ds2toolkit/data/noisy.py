"""Test sets in noise: copies of a test set at one signal-to-noise ratio, and the recordings that make the noise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut
from lhotse.cut import Cut

from ds2toolkit import parallel
from ds2toolkit.data.batch import derived_seed
from ds2toolkit.data.corpus import audio_fault, read_recording
from ds2toolkit.data.noise import add_noise, draw, fitted
from ds2toolkit.errors import DataError
from ds2toolkit.files import whole

SUFFIXES = (".wav", ".flac", ".ogg", ".sph")
PEAK = 0.99


def read_folder(folder: Path, rate_hz: int) -> dict[Path, Cut]:
    """The first channel of every recording below a folder, at one rate. Raises DataError for a broken one, or for none."""
    cuts = {}
    for path in sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES):
        if any(fault := audio_fault(path)):
            raise DataError(f"{path}: {fault[0]} ({fault[1]}); take it out of {folder} or fetch it again")
        recording = read_recording(path, "-".join(path.relative_to(folder).with_suffix("").parts))
        cut = MonoCut(recording.id, start=0, duration=recording.duration, channel=0, recording=recording)
        cuts[path] = cut if recording.sampling_rate == rate_hz else cut.resample(rate_hz)
    if not cuts:
        raise DataError(f"no recording ({', '.join(SUFFIXES)}) below {folder}")
    return cuts


def in_noise(cuts: Sequence[Cut], noises: Sequence[Cut], snr_db: float, folder: Path, title: str) -> list[Cut]:
    """Every utterance with a noise over its whole length, as FLAC files in `folder`.

    Which piece of which noise an utterance gets hangs on its place alone, so test sets of all ratios have the same.
    The ratio is that of the energies of the whole utterance and its noise.
    """
    jobs = [(place, cut, noises, snr_db, folder) for place, cut in enumerate(cuts)]
    return list(parallel.run(_mix, jobs, 1, title))


def _mix(job: tuple[int, Cut, Sequence[Cut], float, Path]) -> Cut:
    place, cut, noises, snr_db, folder = job
    rng = np.random.default_rng(derived_seed(0, 0, place))
    clean_T = cut.load_audio()[0]
    noisy_T = add_noise(clean_T, fitted(draw(noises, rng), len(clean_T), rng), snr_db)
    noisy_T = noisy_T * min(1.0, PEAK / np.abs(noisy_T).max(initial=1e-9))
    path = folder / f"{cut.id}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        soundfile.write(part, noisy_T, cut.sampling_rate, subtype="PCM_16")
    recording = read_recording(path, cut.id)
    return MonoCut(cut.id, 0, recording.duration, 0, recording=recording, supervisions=cut.supervisions)
