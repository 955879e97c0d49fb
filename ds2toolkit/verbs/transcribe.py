"""`ds2 transcribe`: audio files in, their words out, with a trained checkpoint and, on request, its decoding graph."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import SearchConfig
from ds2toolkit.data.audio import read_audio
from ds2toolkit.data.features import extractor, normalise
from ds2toolkit.decode.emissions import graph_text, greedy_words
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.k2_worker import k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.units import join_units


def run(files: list[Path], model: Path, graph: Path | None, as_json: bool) -> None:
    """Print each file's words; files that can't be read are named at the end, as one UserError."""
    recogniser = load_model(model)
    decoder = open_decoder(graph, recogniser) if graph else None
    failed = []
    for path in files:
        try:
            line = transcribe(recogniser, decoder, path)
        except DataError as error:
            failed.append(str(error))
            continue
        print(json.dumps(line, ensure_ascii=False) if as_json else shown_line(line, len(files)), flush=True)
    if decoder:
        decoder.close()
    if failed:
        raise UserError("\n".join(failed))


def load_model(model: Path) -> Recogniser:
    path = model / "best.pt" if model.is_dir() else model
    if not path.exists():
        raise UserError(f"{path} does not exist: name a checkpoint that `ds2 train` wrote, such as exp/ds2/best.pt")
    recogniser, _ = checkpoint.load(path)
    recogniser.model.eval()
    return recogniser


def open_decoder(folder: Path, recogniser: Recogniser):
    graph = Graph.load(folder)
    graph.check_tokens(recogniser.vocabulary.tokens)
    return open_k2(graph) if k2_available() else KaldiDecoder(graph)


def shown_line(line: dict, num_files: int) -> str:
    return line["text"] if num_files == 1 else f"{line['file']}\t{line['text']}"


@torch.inference_mode()
def transcribe(recogniser: Recogniser, decoder, path: Path) -> dict:
    """One file as plain values: file, duration, text and, from the greedy path, words with start and end in seconds."""
    config = recogniser.features
    samples_T, changed = read_audio(path, config.sample_rate_hz)
    if changed:
        print(f"{path}: {changed}", file=sys.stderr)
    try:
        feats_TF = normalise(extractor(config).extract(samples_T, config.sample_rate_hz), config, recogniser.stats)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    feats_BTF = torch.from_numpy(np.ascontiguousarray(feats_TF))[None]
    log_probs_BSV, _ = recogniser.model(feats_BTF, torch.tensor([feats_BTF.shape[1]]))
    line = {"file": str(path), "duration_s": round(len(samples_T) / config.sample_rate_hz, 3)}
    if decoder:
        (best,) = decoder.decode([log_probs_BSV[0].numpy()], SearchConfig())
        return line | {"text": graph_text(recogniser, decoder.graph.spell(best.word_ids)), "score": best.score}
    words = greedy_words(recogniser, log_probs_BSV[0].numpy())
    return line | {"text": join_units((word["word"] for word in words), recogniser.unit), "words": words}
