"""`ds2 transcribe`: audio files of any length in, their words out, with a checkpoint and, on request, its decoding graph."""

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import SearchConfig
from ds2toolkit.data.long import LongAudio
from ds2toolkit.decode import calibration, long, tuned
from ds2toolkit.decode.calibration import Calibration
from ds2toolkit.decode.confidence import Word, greedy_targets, words
from ds2toolkit.decode.emissions import graph_text, greedy_text
from ds2toolkit.decode.k2_worker import k2_available
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.search import Search
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.units import join_units
from ds2toolkit.verbs.decode import made_for, material_of


@dataclass(frozen=True)
class Listener:
    """A recogniser, an opened search of a graph with its settings where there is one, and how to read words' scores."""

    recogniser: Recogniser
    graph: Search | None = None
    search: SearchConfig = SearchConfig()
    calibration: Calibration | None = None

    def best(self, log_probs_SV: np.ndarray) -> tuple[str, list[int], float | None]:
        """The text of a stretch, the tokens that spell it, and a graph's score."""
        if self.graph is None:
            return greedy_text(self.recogniser, log_probs_SV), greedy_targets(log_probs_SV), None
        (found,) = self.graph.decode([log_probs_SV], self.search)
        text = graph_text(self.recogniser, found.words)
        return text, self.recogniser.vocabulary.encode_known(text), found.score

    def line(self, word: Word, start_s: float) -> dict[str, Any]:
        """A word as plain values; without a calibration its score is called one."""
        name, value = "score", word.score
        if self.calibration:
            name, value = "confidence", float(self.calibration(np.array(word.score)))
        times = {"start_s": round(word.start_s + start_s, 3), "end_s": round(word.end_s + start_s, 3)}
        return {"word": word.text, **times, name: round(value, 4)}


def run(files: list[Path], model: Path, graph: Path | None, as_json: bool) -> None:
    """Print each file's words; files that can't be read are named at the end, as one UserError."""
    failed = []
    with ExitStack() as opened:
        listener = listen(model, graph, as_json, opened)
        for path in files:
            try:
                line = transcribe(listener, path)
            except DataError as error:
                failed.append(str(error))
                continue
            print(json.dumps(line, ensure_ascii=False) if as_json else shown_line(line, len(files)), flush=True)
    if failed:
        raise UserError("\n".join(failed))


def load_model(model: Path) -> tuple[Recogniser, Path]:
    """With the checkpoint's own path; the network is where it runs fastest."""
    path = model / "best.pt" if model.is_dir() else model
    if not path.exists():
        raise UserError(f"{path} does not exist: name a checkpoint that `ds2 train` wrote, such as exp/ds2/best.pt")
    recogniser, _ = checkpoint.load(path)
    recogniser.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return recogniser, path


def listen(model: Path, graph: Path | None, with_times: bool, opened: ExitStack) -> Listener:
    """With what was tuned and calibrated for this checkpoint and this graph; with_times: whether scores will be shown."""
    recogniser, path = load_model(model)
    listener, of = Listener(recogniser), {"checkpoint": tuned.digest([path])}
    if graph:
        material, method = material_of(graph, recogniser), "k2" if k2_available() else "kaldi"
        of = made_for(method, material, path)
        entries = tuned.read(path.parent)
        search, _ = tuned.settings(entries, METHODS[method].tuned_as, of, SearchConfig())
        listener = replace(listener, graph=opened.enter_context(METHODS[method].open(material)), search=search)
    if not with_times:
        return listener
    found, why_not = calibration.lookup(path.parent, "graph" if graph else "greedy", of)
    if why_not:
        print(f"words have scores, which are no confidences: {why_not}", file=sys.stderr)
    return replace(listener, calibration=found)


def shown_line(line: dict[str, Any], num_files: int) -> str:
    return line["text"] if num_files == 1 else f"{line['file']}\t{line['text']}"


def transcribe(listener: Listener, path: Path) -> dict[str, Any]:
    """One file as plain values: file, duration, text, words with start and end in seconds, and a graph's score."""
    recogniser, audio = listener.recogniser, LongAudio(path)
    if changed := audio.changed(recogniser.features.sample_rate_hz):
        print(f"{path}: {changed}", file=sys.stderr)
    frame_s = long.frame_s(recogniser)
    texts, lines, scores = [], [], []
    blocks = long.emissions(recogniser, audio, path.name)
    for first, log_probs_SV in long.stretches(blocks, long.space(recogniser), frame_s):
        text, targets, score = listener.best(log_probs_SV)
        texts += [text] if text else []
        lines += [listener.line(word, first * frame_s) for word in words(recogniser, log_probs_SV, targets)]
        scores += [] if score is None else [score]
    if not texts:
        print(f"{path}: the network hears no words in it", file=sys.stderr)
    found = {"file": str(path), "duration_s": round(audio.duration_s, 3), "text": join_units(texts, recogniser.unit)}
    return found | {"words": lines} | ({"score": sum(scores)} if scores else {})
