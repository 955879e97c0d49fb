"""One-best decoding with k2, ours and icefall's own functions, by turns on the same batches; run by a Python with k2.

Run by benchmarks/decode.py with the paths of k2_process.py, icefall's decode.py and utils.py, the graph's arcs and
words, a folder of stored emissions, and the beams as JSON. Its last line of output is JSON: seconds of each, the
least of several passes for every batch, and the words that each found.
"""

import ast
import importlib.util
import json
import sys
import time
import typing
from pathlib import Path

import k2
import numpy as np
import torch

BATCH, PASSES = 8, 15
WANTED = ("get_lattice", "one_best_decoding", "get_texts")


def functions(paths: list[Path]) -> dict[str, typing.Callable]:
    """Some functions out of icefall's files, without the many packages that these import."""
    found = {**vars(typing), "k2": k2, "torch": torch}
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name in WANTED:
                exec(compile(ast.Module([node], []), str(path), "exec"), found)
    return {name: found[name] for name in WANTED}


def our_decoder(process_file: Path, arcs: Path, words: Path):
    spec = importlib.util.spec_from_file_location("k2_process", process_file)
    process = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(process)
    process.find_ds2toolkit()
    from ds2toolkit.decode.k2_decoder import K2Decoder

    return K2Decoder(arcs, words)


def batches(folder: Path) -> list[list[np.ndarray]]:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    flat = np.fromfile(folder / "log_probs.f32", dtype=np.float32).reshape(-1, meta["num_tokens"])
    utterances = np.split(flat, np.cumsum(meta["num_frames"])[:-1])
    return [utterances[start : start + BATCH] for start in range(0, len(utterances), BATCH)]


def icefall_way(peer: dict[str, typing.Callable], graph, beams: dict, batch: list[np.ndarray]) -> list[list[int]]:
    """As icefall's recipes do: padded, the longest first."""
    order = sorted(range(len(batch)), key=lambda number: -len(batch[number]))
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(batch[n]) for n in order], batch_first=True)
    segments = torch.tensor([[row, 0, len(batch[n])] for row, n in enumerate(order)], dtype=torch.int32)
    texts = peer["get_texts"](peer["one_best_decoding"](peer["get_lattice"](padded, graph, segments, **beams)))
    found = dict(zip(order, texts))
    return [found[number] for number in range(len(batch))]


def main() -> None:
    process_file, decode_file, utils_file, arcs, words, folder, beams = (*map(Path, sys.argv[1:7]), json.loads(sys.argv[7]))
    torch.set_num_threads(1)
    ours = our_decoder(process_file, arcs, words)
    fsa = k2.Fsa(torch.from_numpy(np.load(arcs)))
    fsa.aux_labels = torch.from_numpy(np.load(words))
    graph, peer, utterances = k2.create_fsa_vec([fsa]), functions([decode_file, utils_file]), batches(folder)
    ways = {
        "ours": lambda batch: [list(path.word_ids) for path in ours.decode(batch, tuple(beams.values()))],
        "icefall": lambda batch: icefall_way(peer, graph, beams, batch),
    }
    took = {name: np.full(len(utterances), np.inf) for name in ways}
    found: dict[str, list] = {name: [] for name in ways}
    for place, batch in enumerate(utterances):
        for number in range(PASSES):
            for name in sorted(ways, reverse=bool(number % 2)):
                started = time.perf_counter()
                paths = ways[name](batch)
                took[name][place] = min(took[name][place], time.perf_counter() - started)
                if not number:
                    found[name] += paths
    print(json.dumps({name: {"seconds": took[name].sum(), "words": found[name]} for name in ways}))


if __name__ == "__main__":
    main()
