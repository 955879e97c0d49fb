"""Workers that train as one: the numbers of a single process, one reason when one fails, nobody left hanging."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from lhotse.cut import Cut
from lhotse.utils import fastcopy
from torch.distributed import TCPStore

from ds2toolkit import checkpoint, cli, workers
from ds2toolkit.config import ModelConfig, from_dict
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.order import epoch_batches, shard
from ds2toolkit.errors import UserError
from ds2toolkit.files import write_text
from ds2toolkit.model.ctc import ctc_loss
from ds2toolkit.model.deepspeech2 import DeepSpeech2
from ds2toolkit.recipe import load
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.train.loop import Run
from ds2toolkit.train.memory import largest_batch
from ds2toolkit.verbs.train import new_recogniser, utterances

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
LIMIT_S = 120
NUM_BINS, NUM_TOKENS = 20, 5
NUM_FRAMES = [31, 17, 9, 26, 14]
CONV_1D = {"kind": "1d", "channels": [6], "kernels": [5], "strides": [2]}
CONV = {"channels": [3, 2], "kernels": [[5, 3], [3, 3]], "strides": [[2, 2], [2, 1]]}
MODELS = {
    **{cell: {"cell": cell} for cell in ("rnn", "gru", "lstm")},
    "dense": {"num_dense_layers": 2},
    "forward": {"bidirectional": False, "lookahead": 3, "conv": CONV_1D},
    "plain": {"batch_norm": False},
}
RECIPE = """
title: tones
unit: character
splits: {train: [train], dev: [dev], test: [dev]}
features: {storage: on_the_fly, mean_variance: utterance}
conf: tiny
"""
TINY = """
num_epochs: 3
save_every_s: 0
model: {conv: {channels: [4], kernels: [[21, 5]], strides: [[8, 2]]}, num_rnn_layers: 1, rnn_size: 24}
optimiser: {kind: adamw, learning_rate: 1.0e-2, loss_reduction: mean}
batches: {budget_s: 6, num_workers: 0}
"""


def one_step(settings: dict) -> dict[str, torch.Tensor]:
    """Loss, gradients and running statistics of one batch, of which this worker takes its share."""
    torch.manual_seed(0)
    model = DeepSpeech2(from_dict(ModelConfig, {"conv": CONV, "num_rnn_layers": 2, "rnn_size": 7} | settings, "test"),
                        NUM_BINS, NUM_TOKENS).double()  # fmt: skip
    feats = [torch.randn(num_frames, NUM_BINS, dtype=torch.float64) for num_frames in NUM_FRAMES]
    targets_BU = torch.randint(1, NUM_TOKENS, (len(feats), 3))
    mine = shard(range(len(feats)), workers.rank(), workers.count())
    feats_BTF = torch.nn.utils.rnn.pad_sequence([feats[i] for i in mine], batch_first=True)
    log_probs_BSV, num_out_B = model(feats_BTF, torch.tensor([NUM_FRAMES[i] for i in mine]))
    loss = ctc_loss(log_probs_BSV, num_out_B, targets_BU[list(mine)], torch.tensor([2 for _ in mine])).sum()
    loss.backward()
    workers.pool_gradients(model.parameters())
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": workers.pooled(loss.detach())} | gradients | dict(model.named_buffers())


def find_out(folder: Path) -> None:
    """What both workers find: the numbers of training steps, and what they tell each other."""
    steps = {name: one_step(settings) for name, settings in MODELS.items()}
    torch.save({"steps": steps, "exchanges": exchanges(folder)}, folder / f"{workers.rank()}.pt")
    print(f"worker {workers.rank()} is done")


def exchanges(folder: Path) -> dict[str, object]:
    number = workers.rank() + 1.0
    with workers.apart():
        alone = workers.count(), workers.rank(), workers.lowest(number)
    with workers.first_then_others():
        seen = (folder / "first").exists()
        (folder / "first").touch()
    return {
        "sum": workers.pooled(torch.tensor([number, 1.0])).tolist(),
        "lowest": workers.lowest(number),
        "all": workers.gathered(f"worker {workers.rank()}"),
        "alone": alone == (1, 0, number),
        "seen": seen,
    }


def training(folder: Path, *settings: str) -> Run:
    recipe = load(folder)
    recogniser = new_recogniser(recipe, recipe.training(None, list(settings)))
    sets = (utterances(recipe, recogniser, (name,), training=name == "train") for name in ("train", "dev"))
    return Run(recipe.experiment("steps"), recogniser, *sets)


def take_steps(folder: Path) -> None:
    """The first step of training in float64 with either reduction, and one with an utterance of NaN."""
    found = {}
    for reduction in ("sum", "mean"):
        run = training(folder, f"optimiser.loss_reduction={reduction}")
        run.model.double()
        batch = next(run.batches())[0]
        batch = replace(batch, feats_BTF=batch.feats_BTF.double())
        loss, norm, _ = run.step(batch, 0.0)
        gradients = {name: parameter.grad.clone() for name, parameter in run.model.named_parameters()}
        numbers = {"loss": torch.tensor(loss), "norm": torch.tensor(norm)}
        found[reduction] = numbers | gradients | dict(run.model.named_buffers())
    found["ids"], said = batch.ids, []
    run.say, before = said.append, [parameter.clone() for parameter in run.model.parameters()]
    batch.feats_BTF[batch.ids.index(max(batch.ids))] = torch.nan if workers.rank() == 0 else 1.0
    run.step(batch, 0.0)
    assert all(torch.equal(*pair) for pair in zip(run.model.parameters(), before))
    torch.save(found | {"said": said, "bad_steps": run.state.bad_steps}, folder / f"{workers.rank()}.steps")


def fail(folder: Path) -> None:
    """Both mistakes are the user's, and one is enough to be told."""
    raise UserError("the corpus is gone")


def train(folder: Path) -> None:
    cli.call(["train", "--recipe", str(folder), "--exp", "two"])


def hang(folder: Path) -> None:
    (folder / f"{workers.rank()}.up").touch()
    time.sleep(LIMIT_S)


def together(job: Callable[[Path], None], folder: Path) -> None:
    with workers.together():
        job(folder)


def worker(call: Callable[[], None], folder: Path, environment: dict[str, str]) -> None:
    """What a process of the launcher below does; what it prints goes to files."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = (folder / f"{environment['RANK']}.txt").open("w", encoding="utf-8", buffering=1)
    try:
        call()
    except UserError as error:
        cli.fail(str(error))


def launch(call: Callable[[], None], folder: Path) -> list[BaseProcess]:
    """Two workers, as torchrun starts them, from a process that has everything loaded."""
    context = multiprocessing.get_context("forkserver")
    # Optimisers import torch._dynamo when they are made.
    loaded = ["ds2toolkit.verbs.train", "torch._dynamo", "torch.utils.tensorboard", "jsonargparse"]
    context.set_forkserver_preload(loaded)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    common |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
    started = []
    for rank in range(2):
        own = {name: str(value) for name, value in (common | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        started.append(context.Process(target=worker, args=(call, folder, own)))
        started[-1].start()
    started[0].store = store  # lives as long as they do
    return started


def ended(started: list[BaseProcess]) -> list[int]:
    """Exit codes; as with torchrun, the first worker that fails ends the other."""
    running = {process.sentinel: process for process in started}
    while running:
        assert (over := wait(running, timeout=LIMIT_S)), "they hang"
        for sentinel in over:
            process = running.pop(sentinel)
            process.join()
            if process.exitcode:
                for other in running.values():
                    other.terminate()
    return [process.exitcode for process in started]


def printed(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("?.txt")))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The findings of two workers, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    assert ended(launch(partial(together, find_out, folder), folder)) == [0, 0], printed(folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)], printed(folder)


@pytest.mark.parametrize("name", MODELS)
def test_two_workers_get_what_one_gets(two, name):
    alone = one_step(MODELS[name])
    for found in two[0]:
        assert found["steps"][name].keys() == alone.keys()
        for what, expected in alone.items():
            torch.testing.assert_close(found["steps"][name][what], expected, rtol=1e-10, atol=1e-9)


def test_both_workers_hold_the_same_bits(two):
    first, second = (found["steps"] for found in two[0])
    assert all(torch.equal(first[name][what], second[name][what]) for name in first for what in first[name])


def test_workers_exchange(two):
    common = {"sum": [3.0, 2.0], "lowest": 1.0, "all": ["worker 0", "worker 1"], "alone": True}
    assert [found["exchanges"] for found in two[0]] == [common | {"seen": False}, common | {"seen": True}]


def test_only_the_first_worker_is_heard(two):
    assert two[1] == "worker 0 is done\n"


def test_a_single_process_is_the_only_worker(tmp_path):
    values = torch.randn(3)
    with workers.together():
        assert workers.pooled(values) is values
        only = {"sum": [1.0, 1.0], "lowest": 1.0, "all": ["worker 0"], "alone": True, "seen": False}
        assert exchanges(tmp_path) == only


def test_a_mistake_that_all_make_is_told_once(tmp_path):
    codes = ended(launch(partial(together, fail, tmp_path), tmp_path))
    assert 2 in codes and 0 not in codes
    assert printed(tmp_path) == "ds2: the corpus is gone\n"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tone_cuts):
    """A recipe of tones, ready for training; "alone" is an experiment of a single process."""
    folder = tmp_path_factory.mktemp("tones") / "tones"
    write_text(folder / "recipe.yaml", RECIPE)
    write_text(folder / "conf" / "tiny.yaml", TINY)
    write_cuts(folder, "train", tone_cuts[:17])
    write_cuts(folder, "dev", tone_cuts[17:])
    Vocabulary(("<blk>", "a", "b", "c")).write(folder / "data" / "lang" / "tokens.txt")
    cli.call(["train", "--recipe", str(folder), "--exp", "alone"])
    torch.set_flush_denormal(False)
    return folder


def write_cuts(folder: Path, split: str, cuts: list[Cut]) -> None:
    cut_files.write(cuts, folder / "data" / split / "cuts_feats.jsonl.gz")


def spelled_wrongly(cuts: list[Cut]) -> list[Cut]:
    """The longest text gets a letter that no vocabulary of tones has: it comes last in the first epoch."""
    longest = max(cuts, key=lambda cut: cut.duration)
    wrong = fastcopy(longest, supervisions=[fastcopy(longest.supervisions[0], text="abcz")])
    return [wrong if cut is longest else cut for cut in cuts]


def test_a_step_of_two_workers_is_that_of_one(recipe):
    take_steps(recipe)
    alone = torch.load(recipe / "0.steps")
    assert ended(launch(partial(together, take_steps, recipe), recipe)) == [0, 0], printed(recipe)
    both = [torch.load(recipe / f"{rank}.steps") for rank in range(2)]
    assert sorted(both[0]["ids"] + both[1]["ids"]) == sorted(alone["ids"])
    for found in both:
        torch.testing.assert_close(found["sum"], alone["sum"], rtol=1e-10, atol=1e-9)
        torch.testing.assert_close(found["mean"], alone["mean"], rtol=1e-10, atol=1e-9)
        assert found["said"] == [f"step 1 skipped: features not finite: {max(both[0]['ids'])}"]
        assert found["bad_steps"] == 1


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_memory_is_tried_with_the_largest_share(num_workers):
    durations = np.random.default_rng(0).uniform(1, 20, 300)
    batches = epoch_batches(durations, 90, 1, 0, at_least=num_workers)
    shares = [shard(batch, rank, num_workers) for batch in batches for rank in range(num_workers)]
    sizes = [len(share) * durations[share].max() for share in shares]
    share = largest_batch(durations, 90, num_workers)
    assert len(share) * durations[share].max() == max(sizes) and durations[share].tolist() == sorted(durations[share])


def history(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "history.jsonl").read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_two_workers_train_as_one_through_mistakes_and_accidents(recipe, tone_cuts):
    """What one finds wrong ends both, kill -9 of one too; the next run goes on, though
    the last checkpoint is damaged, and gets to where a single process gets.
    """
    folder, alone = recipe / "exp" / "two", recipe / "exp" / "alone"
    write_cuts(recipe, "train", spelled_wrongly(tone_cuts[:17]))
    codes = ended(launch(partial(train, recipe), recipe))
    assert 2 in codes and 0 not in codes
    assert "ds2: characters outside the vocabulary: 'z', in 'abcz'" in printed(recipe)
    assert printed(recipe).count("'z'") == 1
    write_cuts(recipe, "train", tone_cuts[:17])

    before, started = (folder / "last.pt").stat().st_mtime_ns, launch(partial(train, recipe), recipe)
    while (folder / "last.pt").stat().st_mtime_ns == before:
        assert started[0].is_alive(), printed(recipe)
        time.sleep(0.01)
    started[1].kill()
    started[0].join(LIMIT_S)
    assert started[0].exitcode == 2 and "ds2: another worker has ended without a word" in printed(recipe)

    raw = bytearray((folder / "last.pt").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "last.pt").write_bytes(raw)

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "ds2toolkit", "train", "--exp", "two"]
    done = subprocess.run(command, cwd=recipe, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("last.pt is not a whole checkpoint") == 1
    assert done.stdout.count("going on from") == 1 and done.stdout.count("best dev error rate") == 1
    for ours, theirs in zip(history(folder), history(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4) and ours["dev_error_rate"] == theirs["dev_error_rate"] < 1
    ours, theirs = (checkpoint.load(one / "last.pt")[0].model.state_dict() for one in (folder, alone))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_workers_die_with_what_started_them(tmp_path):
    """As when torchrun is killed outright."""
    started = launch(partial(together, hang, tmp_path), tmp_path)
    while len(list(tmp_path.glob("?.up"))) < 2:
        time.sleep(0.02)
    processes = [psutil.Process(process.pid) for process in started]
    processes[0].parent().kill()
    assert not psutil.wait_procs(processes, timeout=20)[1]
