"""Data at size: decompressing .wv1, preparing 20,000 utterances, the first training batch of a million cuts.

Run: python benchmarks/data.py [wv1] [prepare] [million]. Everything is made in a temporary folder. Each part runs
in a process of its own; memory is that process's and its children's (proportional set size), looked at 20 times a
second. Ends with code 1 when a target is missed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import soundfile

ROOT = Path(__file__).parent.parent
LOOK_EVERY_S, RATE_HZ = 0.05, 16000
NUM_WV1, WV1_S = 2000, 7.5
NUM_PREPARED, PREPARED_S = 20_000, 4.0
NUM_CUTS, NUM_FILES = 1_000_000, 60
WORDS = np.array("the of and to in he was that his her with had it as for she not but at on is you be him".split())
RECIPE = """
title: a million
splits: {train: [train], dev: [train], test: []}
features: {storage: on_the_fly, mean_variance: utterance}
"""


@dataclass(frozen=True)
class Goal:
    """A figure, and what it is to be: at most, or at least."""

    name: str
    figure: float
    unit: str
    most: float = np.inf
    least: float = -np.inf

    def line(self) -> str:
        target = f"at most {self.most:,g}" if self.most < np.inf else f"at least {self.least:,g}"
        return f"{'pass' if self.met else 'FAIL'}  {self.name}: {self.figure:,.2f} {self.unit} (target: {target})"

    @property
    def met(self) -> bool:
        return self.least <= self.figure <= self.most


def watched(code: str, *arguments: Path) -> tuple[dict[str, Any], float, float]:
    """Run Python code in a process: what its last line of output says (JSON), its seconds, and its peak memory in MB."""
    started = time.monotonic()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        peaks: list[float] = []
        watcher = threading.Thread(target=watch, args=(psutil.Process(child.pid), peaks))
        watcher.start()
        output = child.stdout.read()
    watcher.join()
    if child.returncode:
        raise SystemExit(f"it ended with code {child.returncode}")
    return json.loads(output.splitlines()[-1]), time.monotonic() - started, max(peaks) / 1e6


def watch(root: psutil.Process, peaks: list[float]) -> None:
    while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
        peaks.append(memory(root))
        time.sleep(LOOK_EVERY_S)


def memory(root: psutil.Process) -> int:
    try:
        return sum(process.memory_full_info().pss for process in [root, *root.children(recursive=True)])
    except psutil.Error:  # one of them has just ended
        return 0


def murmur(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """int16 with the spectrum and the swells of speech, roughly: what compresses as speech does."""
    noise = rng.standard_normal(round(seconds * RATE_HZ))
    low = np.convolve(noise, 0.9 ** np.arange(40), "same")
    swells = np.abs(np.sin(np.pi * 3 * np.arange(len(low)) / RATE_HZ)) ** 2 + 0.02
    return (600 * low * swells).clip(-32000, 32000).astype(np.int16)


WV1 = """
import json, os, psutil, sys, time
from pathlib import Path
from ds2toolkit.data.convert import to_flac
from ds2toolkit.data.corpus import Corpus
from ds2toolkit.data.report import Report
folder, report = Path(sys.argv[1]), Report()
corpus = Corpus(report)
for path in sorted(folder.glob("wv1/*.wv1")):
    corpus.add("train", path, path.stem, "hello", path.stem[:3])
cuts = corpus.cuts()["train"]
idle = lambda: psutil.cpu_times().idle + psutil.cpu_times().iowait
busy = lambda: sum(os.times()[:4])
started, idle_s, busy_s = time.monotonic(), idle(), busy()
done = to_flac("train", cuts, folder / "flac", os.cpu_count(), report)
wall_s, idle_s, busy_s = time.monotonic() - started, idle() - idle_s, busy() - busy_s
assert len(done) == len(list(folder.rglob("*.flac"))) and not report.dropped
print(json.dumps({"count": len(done), "wall_s": wall_s, "busy": busy_s / (busy_s + idle_s)}))
"""


def wv1(folder: Path) -> Iterator[Goal]:
    """Decompress .wv1 of the length of WSJ's utterances."""
    from ds2toolkit.toy.sphere import write_sphere

    rng = np.random.default_rng(0)
    (folder / "wv1").mkdir()
    for number in range(NUM_WV1):
        path = folder / "wv1" / f"{number % 200:03d}c{number:04d}.wv1"
        if number < 20:
            write_sphere(path, murmur(rng, WV1_S), RATE_HZ, coding="shorten-v2.00")
            sources = sorted((folder / "wv1").iterdir())
        else:
            os.link(sources[number % 20], path)
    found, _, peak_mb = watched(WV1, folder)
    cores = os.cpu_count()
    name = f"decompressing {found['count']:,d} .wv1 of {WV1_S} s on {cores} cores"
    yield Goal(name, found["count"] / found["wall_s"], "utterances a second", least=50 * cores)
    yield Goal(f"{name}, share in use of what other programs left of them", found["busy"], "", least=0.9)
    yield Goal(f"{name}, memory", peak_mb, "MB", most=1000)


PREPARE = """
import sys
from ds2toolkit.cli import main
sys.argv = ["ds2", "prepare", "--recipe", sys.argv[1], "--corpus-dir", sys.argv[2]]
main()
print("{}")
"""


def prepare(folder: Path) -> Iterator[Goal]:
    """`ds2 prepare` of a made-up LibriSpeech."""
    recipe, corpus = folder / "librispeech", folder / "corpus"
    shutil.copytree(ROOT / "egs/librispeech/local", recipe / "local")
    shutil.copy(ROOT / "egs/librispeech/recipe.yaml", recipe)
    write_librispeech(corpus / "LibriSpeech")
    _, wall_s, peak_mb = watched(PREPARE, recipe, corpus)
    from ds2toolkit.data import cuts as cut_files

    found = len(cut_files.read(recipe / "data/train-clean-100/cuts.jsonl.gz"))
    assert found == NUM_PREPARED, f"{found} utterances were prepared"
    name = f"ds2 prepare of {NUM_PREPARED:,d} utterances of {PREPARED_S} s ({wall_s:.0f} s)"
    yield Goal(f"{name}, memory", peak_mb, "MB", most=1000)


def write_librispeech(root: Path) -> None:
    """100 readers of 10 chapters of 20 utterances; of 100 recordings, each under many names."""
    rng = np.random.default_rng(0)
    (root / "audio").mkdir(parents=True)
    for number in range(100):
        soundfile.write(root / "audio" / f"{number}.flac", murmur(rng, PREPARED_S), RATE_HZ)
    (root / "SPEAKERS.TXT").write_text("".join(f"{100 + i} | F | train-clean-100 | 25.0 | A\n" for i in range(100)))
    for chapter in range(NUM_PREPARED // 20):
        reader, lines = 100 + chapter // 10, []
        place = root / "train-clean-100" / str(reader) / str(chapter)
        place.mkdir(parents=True)
        for number in range(20):
            name = f"{reader}-{chapter}-{number:04d}"
            os.link(root / "audio" / f"{(chapter + number) % 100}.flac", place / f"{name}.flac")
            lines.append(f"{name} {' '.join(rng.choice(WORDS, 25)).upper()}\n")
        (place / f"{reader}-{chapter}.trans.txt").write_text("".join(lines))


MILLION = """
import json, sys, time
started = time.monotonic()
from pathlib import Path
from ds2toolkit.config import TrainConfig
from ds2toolkit.recipe import load
from ds2toolkit.train.loop import Run
from ds2toolkit.verbs.train import new_recogniser, utterances
imported = time.monotonic()
recipe = load(Path(sys.argv[1]))
recogniser = new_recogniser(recipe, TrainConfig())
train = utterances(recipe, recogniser, ("train",), training=True)
batch, audio_s = next(Run(recipe.experiment("ds2"), recogniser, train, train).batches())
print(json.dumps({
    "count": len(train), "import_s": imported - started, "open_s": time.monotonic() - imported,
    "longest_s": batch.feats_BTF.shape[1] / 100, "shortest_s": float(train.durations_s.min()),
}))
"""


def lines(folder: Path) -> Iterator[SimpleNamespace]:
    """A million cuts on a few recordings of 1 to 16 s: what data.cuts.write asks of lhotse's, without their cost."""
    from ds2toolkit.data.corpus import read_cut

    rng, plain = np.random.default_rng(0), []
    for number, seconds in enumerate(np.linspace(1, 16, NUM_FILES)):
        path = folder / f"{number}.flac"
        soundfile.write(path, murmur(rng, seconds), RATE_HZ)
        plain.append(read_cut(path, str(number), "", "ann", condition="calm").to_dict())
    texts = [" ".join(rng.choice(WORDS, 20)) for _ in range(1000)]
    for number, (file, text) in enumerate(rng.integers(0, (NUM_FILES, 1000), (NUM_CUTS, 2)).tolist()):
        cut, name = plain[file], f"{number % 2000}-{number // 100}-{number % 100:04d}"
        words = texts[text][: int(6 * cut["duration"])]
        supervision = cut["supervisions"][0] | {"id": name, "recording_id": name, "text": words}
        recording = cut["recording"] | {"id": name}
        values = cut | {"id": name, "supervisions": [supervision], "recording": recording}
        text = SimpleNamespace(text=words)
        yield SimpleNamespace(to_dict=lambda values=values: values, duration=cut["duration"], supervisions=[text])


def million(folder: Path) -> Iterator[Goal]:
    """The first batch to train on, in SortaGrad's order, its features computed from audio."""
    from ds2toolkit.data import cuts as cut_files
    from ds2toolkit.text.vocabulary import Vocabulary

    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    cut_files.write(lines(folder), folder / "data/train/cuts_feats.jsonl.gz")
    Vocabulary.english_characters().write(folder / "data/lang/tokens.txt")
    found, _, peak_mb = watched(MILLION, folder)
    assert found["count"] == NUM_CUTS and found["longest_s"] == found["shortest_s"]
    name = f"first batch of {NUM_CUTS:,d} cuts"
    yield Goal(f"{name}, after {found['import_s']:.1f} s of imports", found["open_s"], "s", most=10)
    yield Goal(f"{name}, memory", peak_mb, "MB", most=1000)


PARTS = {part.__name__: part for part in (wv1, prepare, million)}


def main(names: list[str]) -> int:
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"no part {unknown.pop()!r}; there are: {' '.join(PARTS)}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    met = True
    for name in names or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for goal in PARTS[name](Path(folder)):
                print(goal.line(), flush=True)
                met &= goal.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
