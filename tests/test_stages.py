"""From a corpus to a table of error rates, stage by stage, and killed at every one of them."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import heed_ctrl_c

from ds2toolkit.decode.k2_worker import k2_available
from ds2toolkit.recipe import load
from ds2toolkit.score import hypotheses
from ds2toolkit.score.align import ErrorCounts, count_errors

ROOT = Path(__file__).parent.parent
SIZES = {"train-clean-100": 24, "dev-clean": 6, "test-clean": 6, "test-other": 6}
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
VERBS = ["prepare", "features", "lang", "lm", "graph", "train", "tune", "decode", "score"]
PRODUCTS = [
    "data/*/cuts.jsonl.gz", "data/report.txt", "data/stats.json", "data/lang/tokens.txt", "data/lang/G.arpa",
    "data/lang/lexicon.txt", "data/lang/graph/HLG.fst", "exp/ds2/decode/*/hyps-*.jsonl", "exp/ds2/search.json", "exp/ds2/score/*",
]  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A copy of egs/librispeech with a tiny configuration and a few toy utterances, stage 0 done."""
    egs = tmp_path_factory.mktemp("stages") / "egs"
    for name in ("librispeech/local", "librispeech/conf"):
        shutil.copytree(ROOT / "egs" / name, egs / name)
    for name in ("stages.sh", "librispeech/run.sh", "librispeech/recipe.yaml"):
        shutil.copy(ROOT / "egs" / name, egs / name)
    folder = egs / "librispeech"
    (folder / "toy" / "corpus").mkdir(parents=True)
    load(folder, "toy").local("toy").toy(folder / "toy" / "corpus", sizes=SIZES)
    return folder


def run_sh(recipe: Path, *arguments: str, environment: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess:
    command = ["bash", str(recipe / "run.sh"), "--toy", "--conf", "tiny", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


CLOCK = re.compile(rb'"(date|commit|checkpoint)": "[^"]*"')  # a checkpoint carries the seconds of its training


def products(recipe: Path) -> dict[str, str]:
    """A digest of every product that must not depend on how often a stage was killed."""
    work = recipe / "toy"
    paths = sorted(path for pattern in PRODUCTS for path in work.glob(pattern))
    return {str(path.relative_to(work)): hashlib.sha256(CLOCK.sub(b"", path.read_bytes())).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def finished(recipe) -> subprocess.CompletedProcess:
    run = run_sh(recipe, "--stage", "0")
    assert run.returncode == 0, run.stderr
    return run


def test_one_run_goes_from_audio_to_a_table(recipe, finished):
    methods = {"greedy", "beam", "kaldi"} | ({"k2"} if k2_available() else set())
    for word in ("test-clean", "test-other", "WER", "CER", *methods):
        assert word in finished.stdout
    scores = json.loads((recipe / "toy/exp/ds2/score/score.json").read_text(encoding="utf-8"))["scores"]
    assert {one["method"] for one in scores} == methods
    assert {one["set"]: one["num_utterances"] for one in scores if one["condition"] == "all"} == {
        name: SIZES[name] for name in ("test-clean", "test-other")
    }
    assert len({one["condition"] for one in scores if one["set"] == "test-other"}) > 2
    for name in ("recogs-test-clean-greedy.txt", "errs-test-other-kaldi.txt", "wer-summary-test-clean.txt"):
        assert (recipe / "toy/exp/ds2/score" / name).stat().st_size


def test_the_log_repeats_each_stage_by_hand(recipe, finished):
    commands = [line.strip() for line in finished.stderr.splitlines() if line.startswith("    ds2 ")]
    assert [command.split()[1] for command in commands] == ["download", *VERBS]
    assert all(f"--recipe {recipe}" in command and "--variant toy" in command for command in commands)


def test_features_are_not_computed_twice(recipe, finished):
    run = run_sh(recipe, "--stage", "2", "--stop-stage", "2")
    assert run.returncode == 0 and run.stdout.count("up to date") == 4


def test_a_trained_run_is_left_alone(recipe, finished):
    before = (recipe / "toy/exp/ds2/best.pt").stat().st_mtime_ns
    run = run_sh(recipe, "--stage", "6", "--stop-stage", "6")
    assert run.returncode == 0 and (recipe / "toy/exp/ds2/best.pt").stat().st_mtime_ns == before


def test_ended_at_every_stage_the_result_is_the_same(recipe, finished):
    """Each stage meets Ctrl-C, then kill -9, then runs to its end."""
    expected = products(recipe)
    assert len(expected) > 20
    for name in ("data", "exp"):
        shutil.rmtree(recipe / "toy" / name)
    chance = random.Random(0)
    for number, verb in enumerate(VERBS, start=1):
        code, errors = ended(recipe, number, signal.SIGINT, after_s=chance.uniform(0.5, 2.5))
        while_python_starts = "Traceback" in errors and not re.search(r'cli\.py", line \d+, in (main|call)', errors)
        assert while_python_starts or (code in (0, 130, -signal.SIGINT) and "Traceback" not in errors), f"{verb}: {errors}"
        ended(recipe, number, signal.SIGKILL, after_s=chance.uniform(0.5, 2.5))
        run = run_sh(recipe, "--stage", str(number), "--stop-stage", str(number))
        assert run.returncode == 0, f"{verb}: {run.stderr}"
    assert products(recipe) == expected


def ended(recipe: Path, number: int, end: signal.Signals, after_s: float) -> tuple[int, str]:
    """Start a stage and the ones after it, end them all by a signal; returns the exit code and what they said."""
    command = ["bash", str(recipe / "run.sh"), "--toy", "--conf", "tiny", "--stage", str(number)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    settings = {"env": ENVIRONMENT, "start_new_session": True, "text": True, "preexec_fn": heed_ctrl_c}
    with subprocess.Popen(command, **settings, **pipes) as child:
        time.sleep(after_s)
        if child.poll() is None:
            os.killpg(child.pid, end)
        _, errors = child.communicate()
    return child.returncode, errors


@pytest.mark.parametrize(("stage", "num_kb"), [("2", 4), ("6", 20), ("7", 1), ("8", 1)])
def test_no_room_is_one_line_and_leaves_nothing_half_written(recipe, finished, stage, num_kb):
    """A limit on the size of files stands for a full disk: the system refuses to write on."""
    settings = ["--toy", "--conf", "tiny", "--exp", "full", "--stage", stage, "--stop-stage", stage]
    shutil.copytree(recipe / "toy/exp/ds2", recipe / "toy/exp/full")
    if stage == "2":
        (recipe / "toy/data/dev-clean/features.key").unlink()
        shutil.rmtree(next((recipe / "toy/data/dev-clean").glob("feats-*")))
    if stage == "6":
        (recipe / "toy/exp/full/last.pt").unlink()
    if stage == "7":
        shutil.rmtree(recipe / "toy/exp/full/tune")
    limited = ["bash", "-c", f'ulimit -f {num_kb}; exec bash "$@"', "limited", str(recipe / "run.sh"), *settings]
    try:
        run = subprocess.run(limited, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        halves = [path for path in (recipe / "toy").rglob("part.*")]
    finally:
        shutil.rmtree(recipe / "toy/exp/full")
    assert run.returncode == 2 and "Traceback" not in run.stderr, run.stderr
    assert "full" in run.stderr or "File too large" in run.stderr
    assert not halves
    assert run_sh(recipe, "--stage", "2", "--stop-stage", "2").returncode == 0


def test_without_k2_the_graph_is_searched_all_the_same(recipe, finished):
    environment = {**ENVIRONMENT, "DS2_K2_ENV": "/nonexistent"}
    run = run_sh(recipe, "--stage", "8", environment=environment)
    assert run.returncode == 0, run.stderr
    assert "kaldi" in run.stdout and ("make k2" in run.stdout or find_spec("k2"))
    assert run_sh(recipe, "--stage", "8").returncode == 0


def test_the_model_of_another_recipe_brings_its_features_and_its_graph(recipe, finished):
    """A second recipe hears through fbank, at half the rate, and has neither features nor graph of its own."""
    other = recipe.with_name("other")
    shutil.copytree(recipe / "local", other / "local")
    shutil.copy(recipe / "run.sh", other / "run.sh")
    facts = (recipe / "recipe.yaml").read_text(encoding="utf-8")
    (other / "recipe.yaml").write_text(
        facts.replace("kind: spectrogram", "kind: fbank\n  sample_rate_hz: 8000"), encoding="utf-8"
    )
    corpus = ["--corpus-dir", str(recipe / "toy/corpus")]
    run = run_sh(other, *corpus, "--model", "../librispeech/toy/exp/ds2")
    assert run.returncode == 0, run.stderr
    assert "resampled to the checkpoint's 16000 Hz: 6 of 8000 Hz" in run.stdout and not (other / "toy/data/lang").exists()
    scores = other / "toy/exp/librispeech-toy-ds2/score/score.json"
    assert len(json.loads(scores.read_text(encoding="utf-8"))["scores"]) > 4
    (other / "recipe.yaml").write_text(facts.replace("unit: word", "unit: character"), encoding="utf-8")
    run = run_sh(other, "--stage", "8", "--model", "../librispeech/toy/exp/ds2")
    assert run.returncode == 2 and "english by word" in run.stderr


def test_with_its_own_features_another_recipes_model_says_the_same(recipe, finished):
    other = recipe.with_name("twin")
    shutil.copytree(recipe / "local", other / "local")
    for name in ("run.sh", "recipe.yaml"):
        shutil.copy(recipe / name, other / name)
    run = run_sh(other, "--corpus-dir", str(recipe / "toy/corpus"), "--model", str(recipe / "toy/exp/ds2/best.pt"))
    assert run.returncode == 0, run.stderr
    folders = (other / "toy/exp/librispeech-toy-ds2", recipe / "toy/exp/ds2")
    ours, theirs = (hypotheses.read(folder / "decode/greedy/hyps-test-clean.jsonl") for folder in folders)
    assert [one.id for one in ours] == [one.id for one in theirs]
    wrong = sum((count_errors(t.hyp, o.hyp, "character") for o, t in zip(ours, theirs, strict=True)), ErrorCounts())
    assert wrong.rate < 0.1  # features stored by lilcom are not exact, and this network knows nothing


def test_a_graph_of_other_tokens_is_refused(recipe, finished):
    meta = recipe / "toy/data/lang/graph/tokens.txt"
    text = meta.read_text(encoding="utf-8")
    meta.write_text(re.sub(r"^a ", "A ", text, flags=re.MULTILINE), encoding="utf-8")
    try:
        run = run_sh(recipe, "--stage", "8", "--stop-stage", "8")
    finally:
        meta.write_text(text, encoding="utf-8")
    assert run.returncode == 2 and "other tokens" in run.stderr and "Traceback" not in run.stderr
