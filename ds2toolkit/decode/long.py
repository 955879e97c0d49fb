"""Long recordings in bounded memory: log-probabilities window by window, and stretches that can be searched alone."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.data.features import extractor, normalise
from ds2toolkit.data.long import LongAudio
from ds2toolkit.errors import DataError
from ds2toolkit.model.ctc import BLANK

WINDOW_S = 30
CONTEXT_S = 6  # on both sides of a window, for recurrent layers; a recording of one window and so much more stays whole
SHORTEST_S, LONGEST_S = 10, 30  # of a stretch
PAUSE_S = 0.8


def frame_s(recogniser: Recogniser) -> float:
    """From one output frame to the next."""
    return recogniser.features.shift_s * recogniser.model.time_stride


def space(recogniser: Recogniser) -> int | None:
    """The token that stands between words, where there is one."""
    tokens = recogniser.vocabulary.tokens
    return tokens.index(" ") if " " in tokens else None


def windows(duration_s: float, step_s: int) -> Iterator[tuple[float, float, float, float]]:
    """(start, first second to keep, end of what is kept, end); kept is the whole recording, without gap or overlap.

    step_s: what all but the recording's end are multiples of.
    """
    window_s, context_s = (math.ceil(length_s / step_s) * step_s for length_s in (WINDOW_S, CONTEXT_S))
    kept_s = 0
    while kept_s < duration_s:
        end_s = kept_s + window_s if kept_s + window_s + context_s < duration_s else duration_s
        yield max(kept_s - context_s, 0), kept_s, end_s, min(end_s + context_s, duration_s)
        kept_s = end_s


def seconds_of_whole_frames(recogniser: Recogniser) -> int:
    """The fewest whole seconds that are a whole number of output frames."""
    rate_hz = recogniser.features.sample_rate_hz
    return math.lcm(rate_hz, round(frame_s(recogniser) * rate_hz)) // rate_hz


def emissions(recogniser: Recogniser, audio: LongAudio, title: str) -> Iterator[np.ndarray]:
    """Log-probabilities (S, V) of a recording, a window's after the other's; the network hears beyond both its ends.

    Each window's power is normalised as an utterance's is. Raises DataError for audio that is silent throughout, is
    shorter than a window of features or has values that are no numbers.
    """
    found = list(windows(audio.duration_s, seconds_of_whole_frames(recogniser)))
    heard = 0.0
    hidden = None if len(found) > 1 else True  # None: where there is no terminal
    with tqdm(total=round(audio.duration_s), desc=title, unit="s", leave=False, disable=hidden) as bar:
        for start_s, kept_s, kept_end_s, end_s in found:
            samples_T = audio.read_at(start_s, end_s, recogniser.features.sample_rate_hz)
            heard = max(heard, float(np.abs(samples_T).max(initial=0.0)))
            log_probs_SV = _log_probs(recogniser, samples_T, audio.path)
            first, behind = (round((time_s - start_s) / frame_s(recogniser)) for time_s in (kept_s, kept_end_s))
            yield log_probs_SV[first : behind if kept_end_s < end_s else None]
            bar.update(round(kept_end_s) - round(kept_s))
    if not heard > 0:
        raise DataError(f"{audio.path}: audio is silent (every sample is zero)")


@torch.inference_mode()
def _log_probs(recogniser: Recogniser, samples_T: np.ndarray, path: Path) -> np.ndarray:
    config = recogniser.features
    try:
        feats_TF = normalise(extractor(config).extract(samples_T, config.sample_rate_hz), config, recogniser.stats)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    feats_BTF = torch.from_numpy(np.ascontiguousarray(feats_TF))[None]
    device = next(recogniser.model.parameters()).device
    log_probs_BSV, _ = recogniser.model(feats_BTF.to(device), torch.tensor([len(feats_TF)], device=device))
    return log_probs_BSV[0].cpu().numpy()


def on_disk(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The blocks (S, V) as one array, of which what is not looked at stays in a file that goes away by itself."""
    blocks = iter(blocks)
    first = next(blocks)
    with tempfile.TemporaryFile() as file:
        for block in chain([first], blocks):
            file.write(np.ascontiguousarray(block, np.float32).data)
        file.flush()
        return np.memmap(file, np.float32, "r").reshape(-1, first.shape[1])


def stretches(blocks: Iterable[np.ndarray], space: int | None, frame_s: float) -> Iterator[tuple[int, np.ndarray]]:
    """(first frame, log_probs_SV) of stretches of LONGEST_S at most, cut in the longest runs of blanks and spaces, and
    in all that are a pause: a network that was trained on utterances knows no space for the pause between two.

    A recording that is hardly longer than LONGEST_S stays whole. space: the token, or None where there is none.
    """
    shortest, longest, whole = (round(length_s / frame_s) for length_s in (SHORTEST_S, LONGEST_S, WINDOW_S + CONTEXT_S))
    pause, first, waiting_SV = round(PAUSE_S / frame_s), 0, None
    for block in blocks:
        waiting_SV = block if waiting_SV is None else np.concatenate([waiting_SV, block])
        while len(waiting_SV) > whole:
            starts, ends = runs(quiet(waiting_SV[shortest:longest], space))
            widest = (ends - starts).argmax() if len(starts) else None
            cut = shortest + int(starts[widest] + ends[widest]) // 2 if widest is not None else longest
            yield from at_pauses(first, waiting_SV[:cut], space, pause)
            first, waiting_SV = first + cut, waiting_SV[cut:]
    if waiting_SV is not None:
        yield from at_pauses(first, waiting_SV, space, pause) if first else [(first, waiting_SV)]


def at_pauses(first: int, log_probs_SV: np.ndarray, space: int | None, pause: int) -> Iterator[tuple[int, np.ndarray]]:
    """A stretch in parts, cut in the middle of each run of blanks and spaces that is no shorter than a pause."""
    starts, ends = runs(quiet(log_probs_SV, space))
    inner = (ends - starts >= pause) & (starts > 0) & (ends < len(log_probs_SV))
    cuts = [0, *((starts + ends) // 2)[inner].tolist(), len(log_probs_SV)]
    yield from ((first + start, log_probs_SV[start:end]) for start, end in pairwise(cuts) if start < end)


def quiet(log_probs_SV: np.ndarray, space: int | None) -> np.ndarray:
    """Frames in which blank or space is the likeliest."""
    return np.isin(log_probs_SV.argmax(axis=1), [BLANK] if space is None else [BLANK, space])


def runs(holds_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first frame of each run of frames in which something holds, and the frame behind its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds_S, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]
