"""Decoding methods on the same stored log-probabilities: real-time factors, error rates, and peers as ratios in one run.

Run: python benchmarks/decode.py --exp egs/an4/exp/ds2 [--pyctcdecode DIR] [--icefall DIR]

--exp: an experiment of a recipe whose `ds2 tune` has run; the log-probabilities are those of its dev set, the weights
those in its search.json. --pyctcdecode: a folder with pyctcdecode and kenlm, as `pip install --no-deps --target DIR
pyctcdecode pygtrie kenlm` makes it. --icefall: a checkout of icefall or its bare repository, whose own functions run
beside ours wherever k2 runs. Peers that are not there are left out, which is said. Methods take turns over each batch in
one process on one thread; of every batch the fastest pass counts. Ends with code 1 when a target is missed.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ds2toolkit import checkpoint
from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import k2_process, tuned
from ds2toolkit.decode.emissions import greedy_text
from ds2toolkit.decode.k2_worker import k2_available, worker_python
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.search import Material, Search
from ds2toolkit.recipe import load
from ds2toolkit.score.align import ErrorCounts, count_errors
from ds2toolkit.text.normalise import normalise
from ds2toolkit.units import Unit, join_units
from ds2toolkit.verbs import tune
from ds2toolkit.verbs.decode import made_for, material_of

PASSES, BATCH = 9, 8
LEAST_FASTER_THAN_PYCTCDECODE = 3.0
LEAST_FASTER_THAN_ICEFALL = 0.95  # k2's intersection takes more than 98% of either, so this is as fast, but for noise


@dataclass
class Row:
    """A method's texts, one an utterance, and the seconds of the fastest passes."""

    name: str
    texts: list[str]
    seconds: float


def recipe_of(exp: Path):
    """The recipe of EXP, which is RECIPE/exp/NAME or RECIPE/VARIANT/exp/NAME."""
    work = exp.resolve().parents[1]
    return load(work) if (work / "recipe.yaml").exists() else load(work.parent, work.name)


Way = Callable[[list[np.ndarray]], list[str]]


def fastest(ways: dict[str, Way], log_probs: list[np.ndarray]) -> dict[str, Row]:
    """All ways by turns over each batch; of every batch a way's fastest pass counts."""
    rows = {name: Row(name, [], 0.0) for name in ways}
    for start in range(0, len(log_probs), BATCH):
        batch = log_probs[start : start + BATCH]
        took = dict.fromkeys(ways, np.inf)
        for number in range(PASSES):
            for name in list(ways)[:: -1 if number % 2 else 1]:
                started = time.perf_counter()
                texts = ways[name](batch)
                took[name] = min(took[name], time.perf_counter() - started)
                rows[name].texts.extend([] if number else texts)
        for name, row in rows.items():
            row.seconds += took[name]
    return rows


def our_way(opened: Search, unit: Unit, search: SearchConfig) -> Way:
    return lambda batch: [join_units(found.words, unit) for found in opened.decode(batch, search)]


def peer_way(folder: Path, material: Material, search: SearchConfig) -> Way | None:
    """pyctcdecode with the same language model, words and weights, and its own beams."""
    sys.path.append(str(folder))
    try:
        import kenlm  # noqa: F401
        from pyctcdecode import build_ctcdecoder
    except ImportError as error:
        print(f"pyctcdecode is left out: {error}; see the top of this file")
        return None
    logging.disable(logging.WARNING)
    words = [line.split()[0] for line in material.lexicon.read_text(encoding="utf-8").splitlines()]
    tokens = ["", *material.vocabulary.tokens[1:]]
    decoder = build_ctcdecoder(tokens, str(material.arpa), words, alpha=search.alpha, beta=search.beta)
    return lambda batch: [decoder.decode(log_probs_SV) for log_probs_SV in batch]


def icefall_files(source: Path, folder: Path) -> list[Path]:
    """icefall's decode.py and utils.py, out of a checkout or a bare repository."""
    files = []
    for name in ("decode.py", "utils.py"):
        path = folder / name
        if (source / "icefall" / name).exists():
            path.write_bytes((source / "icefall" / name).read_bytes())
        else:
            shown = subprocess.run(["git", "-C", source, "show", f"HEAD:icefall/{name}"], capture_output=True, check=True)
            path.write_bytes(shown.stdout)
        files.append(path)
    return files


def beside_icefall(source: Path, dev: tune.Dev, material: Material, search: SearchConfig) -> dict[str, dict]:
    """Seconds and words of our k2 decoder and of icefall's functions, in one process of the Python that has k2."""
    beams = ("search_beam", "output_beam", "min_active", "max_active")
    names = ("search_beam", "output_beam", "min_active_states", "max_active_states")
    settings = json.dumps({name: getattr(search, beam) for name, beam in zip(names, beams, strict=True)})
    script = Path(__file__).with_name("decode_icefall.py")
    with tempfile.TemporaryDirectory() as folder:
        files = icefall_files(source, Path(folder))
        graph = [material.graph / name for name in ("k2_arcs.npy", "k2_words.npy")]
        command = [worker_python() or sys.executable, script, k2_process.__file__, *files, *graph, dev.log_probs.folder, settings]
        run = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def goal(name: str, figure: float, least: float) -> bool:
    print(f"{'pass' if figure >= least else 'FAIL'}  {name}: {figure:.2f} (target: at least {least:g})")
    return figure >= least


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, default=Path(__file__).parent.parent / "egs/an4/exp/ds2")
    parser.add_argument("--pyctcdecode", type=Path, help="a folder that has it")
    parser.add_argument("--icefall", type=Path, help="a checkout, or a bare repository")
    options = parser.parse_args()
    recipe, path = recipe_of(options.exp), options.exp / "best.pt"
    recogniser, _ = checkpoint.load(path)
    material = material_of(recipe.lang / "graph", recogniser)
    dev = tune.dev_set(recipe, recogniser, path)
    ways: dict[str, Way] = {"greedy": lambda batch: [greedy_text(recogniser, log_probs_SV) for log_probs_SV in batch]}
    searches = {}
    for name in ("beam", "k2", "kaldi") if k2_available() else ("beam", "kaldi"):
        entries = tuned.read(options.exp)
        searches[name], origin = tuned.settings(
            entries, METHODS[name].tuned_as, made_for(name, material, path), recipe.config.search
        )
        print(f"{name}: {', '.join(f'{one} {getattr(searches[name], one):g}' for one in METHODS[name].tuned)} ({origin})")
        ways[name] = our_way(METHODS[name].open(material), recogniser.unit, searches[name])
    if options.pyctcdecode and (way := peer_way(options.pyctcdecode, material, searches["beam"])):
        ways["pyctcdecode"] = way
    rows = fastest(ways, [dev.log_probs[number] for number in range(len(dev.log_probs))])
    return report(options, dev, material, rows, recipe.config.search)


def report(options, dev: tune.Dev, material: Material, rows: dict[str, Row], search: SearchConfig) -> int:
    frame_s = dev.recogniser.features.shift_s * dev.recogniser.model.time_stride
    audio_s = sum(dev.log_probs.meta["num_frames"]) * frame_s
    rates = {name: rate(dev, row.texts) for name, row in rows.items()}
    table = [[name, f"{rates[name]:.2%}", f"{row.seconds / audio_s:.6f}"] for name, row in rows.items()]
    print(f"{len(dev.references)} dev utterances, {audio_s:.0f} s")
    print(tabulate(table, headers=["method", "dev error rate", "real-time factor"], disable_numparse=True))
    met = []
    if "pyctcdecode" in rows:
        ratio = rows["pyctcdecode"].seconds / rows["beam"].seconds
        met.append(goal("times as fast as pyctcdecode", ratio, LEAST_FASTER_THAN_PYCTCDECODE))
        met.append(goal("of its errors, more or as many", rates["pyctcdecode"] / max(rates["beam"], 1e-9), 1.0))
    if options.icefall and k2_available():
        found = beside_icefall(options.icefall, dev, material, search)
        same = sum(ours == theirs for ours, theirs in zip(found["ours"]["words"], found["icefall"]["words"], strict=True))
        ratio = found["icefall"]["seconds"] / found["ours"]["seconds"]
        met.append(goal("times as fast as icefall's one-best", ratio, LEAST_FASTER_THAN_ICEFALL))
        met.append(goal("utterances in which both find the same words", same, len(dev.references)))
    return 0 if all(met) else 1


def rate(dev: tune.Dev, texts: list[str]) -> float:
    pairs = zip(dev.references, (normalise(dev.recogniser.language, text) for text in texts), strict=True)
    return sum((count_errors(ref, text, dev.recogniser.unit) for ref, text in pairs), ErrorCounts()).rate


if __name__ == "__main__":
    sys.exit(main())
