"""Emissions, the log-probabilities of a recogniser for many utterances, and texts from them."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.data.batch import Batch, Utterances
from ds2toolkit.data.order import epoch_batches
from ds2toolkit.model.ctc import greedy, greedy_with_times
from ds2toolkit.text.normalise import normalise
from ds2toolkit.units import Unit, join_units, split_units


@torch.inference_mode()
def emissions(recogniser: Recogniser, utterances: Utterances, title: str) -> Iterator[tuple[str, np.ndarray]]:
    """(id, log_probs_SV float32, unpadded) of every utterance, the shortest first."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = recogniser.model.to(device).eval()
    batches = epoch_batches(utterances.durations_s, recogniser.training.batches.budget_s, epoch=1, seed=0)
    bar = tqdm(total=len(utterances), desc=title, unit="utt", dynamic_ncols=True, leave=False, disable=None)
    with bar:
        for batch in DataLoader(utterances, batch_sampler=batches, collate_fn=Batch.of):
            log_probs_BSV, num_out_B = model(batch.feats_BTF.to(device), batch.num_frames_B)
            for name, log_probs_SV, num_out in zip(batch.ids, log_probs_BSV.cpu(), num_out_B.tolist(), strict=True):
                yield name, log_probs_SV[:num_out].numpy()
            bar.update(len(batch.ids))


def greedy_text(recogniser: Recogniser, log_probs_SV: np.ndarray) -> str:
    """The text of the best path of one utterance."""
    (ids,) = greedy(torch.from_numpy(log_probs_SV)[None], torch.tensor([len(log_probs_SV)]))
    return join_units(split_units(recogniser.vocabulary.decode(ids), recogniser.unit), recogniser.unit)


def greedy_words(recogniser: Recogniser, log_probs_SV: np.ndarray) -> list[dict[str, str | float]]:
    """The words of the best path, or its characters where they are the unit.

    Each with its start and end in seconds: of the frames that first emit its ends.
    """
    frame_s = recogniser.features.shift_s * recogniser.model.time_stride
    (path,) = greedy_with_times(torch.from_numpy(log_probs_SV)[None], torch.tensor([len(log_probs_SV)]))
    spelled = [(character, frame) for token, frame in path for character in recogniser.vocabulary.spellings[token]]
    words: list[dict[str, str | float]] = []
    for is_space, group in groupby(spelled, key=lambda emitted: emitted[0] == " "):
        for word in [] if is_space else parts(list(group), recogniser.unit):
            start_s, end_s = word[0][1] * frame_s, (word[-1][1] + 1) * frame_s
            text = "".join(character for character, _ in word)
            words.append({"word": text, "start_s": round(start_s, 3), "end_s": round(end_s, 3)})
    return words


def parts(emitted: list[tuple[str, int]], unit: Unit) -> list[list[tuple[str, int]]]:
    return [emitted] if unit == "word" else [[one] for one in emitted]


def graph_text(recogniser: Recogniser, words: Iterable[str]) -> str:
    """The text of a decoding graph's words, as transcripts are spelled: the language model may write "mr."."""
    return normalise(recogniser.language, join_units(words, recogniser.unit))
