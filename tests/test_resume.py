"""kill -9 at any moment, and `ds2 train` goes on: the losses, step for step, and the weights of a run left alone."""

import json
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch
import yaml
from test_train import TINY

from ds2toolkit import checkpoint, cli
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.text.vocabulary import Vocabulary

NUM_KILLS = 10
SLOW_TO_LOAD = [
    "ds2toolkit.verbs.train", "ds2toolkit.recipe", "jsonargparse", "scipy.signal", "torch._dynamo",
    "torch.utils.tensorboard", "matplotlib.figure", "matplotlib.backends.backend_agg",
]  # fmt: skip
FACTS = {
    "title": "tones", "unit": "character", "conf": "everything",
    "splits": {"train": ["train"], "dev": ["dev"], "test": []},
    "features": {"storage": "on_the_fly", "mean_variance": "utterance"},
}  # fmt: skip
EVERYTHING = TINY | {
    "num_epochs": 4,
    "save_every_s": 0.0,
    "model": TINY["model"] | {"num_rnn_layers": 2, "num_dense_layers": 2, "dropout": 0.2},
    "optimiser": {"kind": "adam", "learning_rate": 0.01, "schedule": "anneal_on_dev", "warm_up_steps": 9},
    "batches": {"budget_s": 0.8, "sortagrad": 2, "num_workers": 0},
    "average": {"decay": 0.9},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tone_cuts) -> Path:
    """A recipe of tones, ready to train."""
    folder = tmp_path_factory.mktemp("resume") / "tones"
    (folder / "conf").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(FACTS), encoding="utf-8")
    (folder / "conf/everything.yaml").write_text(yaml.safe_dump(EVERYTHING), encoding="utf-8")
    for split, cuts in (("train", tone_cuts[:18]), ("dev", tone_cuts[18:])):
        cut_files.write(cuts, folder / "data" / split / "cuts_feats.jsonl.gz")
    (folder / "data/lang").mkdir()
    Vocabulary.english_characters().write(folder / "data/lang/tokens.txt")
    return folder


def started(recipe: Path, exp: str) -> multiprocessing.Process:
    """`ds2 train` in a process of its own, from a server that has loaded all that is slow to load."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SLOW_TO_LOAD)
    child = context.Process(target=cli.call, args=(["train", "--recipe", str(recipe), "--exp", exp],))
    child.start()
    return child


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def steps(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]


def test_killed_at_ten_random_points_it_takes_the_same_steps(recipe):
    alone, killed = recipe / "exp/alone", recipe / "exp/killed"
    undisturbed = started(recipe, "alone")
    chance, kills = random.Random(0), []
    for _ in range(NUM_KILLS):
        child = started(recipe, "killed")
        target = num_lines(killed / "steps.jsonl") + chance.randint(0, 3)
        while child.is_alive() and num_lines(killed / "steps.jsonl") <= target:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.02))  # in a step, in writing a checkpoint, on the dev set
        child.kill()
        child.join()
        kills.append((num_lines(killed / "steps.jsonl"), child.exitcode))
    last = started(recipe, "killed")
    for child in (last, undisturbed):
        child.join()
        assert child.exitcode == 0
    assert [code for _, code in kills] == [-9] * NUM_KILLS and len({step for step, _ in kills}) > 5, kills
    expected = steps(alone)
    assert [line["step"] for line in expected] == list(range(1, len(expected) + 1))
    assert len(expected) > max(step for step, _ in kills) and steps(killed) == expected
    for name in ("last.pt", "best.pt"):
        assert same(*(torch.load(folder / name, weights_only=True) for folder in (alone, killed))), name


def same(one, other) -> bool:
    """Whether two checkpoints hold the same, bit by bit, but for how long it took."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key != "seconds")
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_every_part_of_the_state_is_in_the_checkpoint(recipe):
    """What the test above compares is there: optimiser, average, history; and the average is not the weights."""
    last = torch.load(recipe / "exp/alone/last.pt", weights_only=True)
    state, weights = last["state"], list(last["recogniser"]["model"].values())
    assert state["optimiser"]["state"] and state["average"]["num_steps"] == state["step"] > 0
    assert len(state["history"]) == 4 and state["budget_s"] == 0.8
    assert not any(torch.equal(mean, weight) for mean, weight in zip(state["average"]["mean"][:1], weights[:1]))


def test_lines_after_the_checkpoint_are_cut_off(recipe):
    """As of a run that was killed between a step and its checkpoint, the last of them half-written."""
    folder = recipe / "exp/alone"
    expected = (folder / "steps.jsonl").read_bytes()
    with (folder / "steps.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 100000, "epoch": 99, "loss": 1.0}\n{"step": 100')
    child = started(recipe, "alone")
    child.join()
    assert child.exitcode == 0 and (folder / "steps.jsonl").read_bytes() == expected


def test_a_share_of_the_training_set(recipe, capsys):
    cli.call(["train", "--recipe", str(recipe), "--exp", "share", "--train-fraction", "0.5", "--set", "num_epochs=1"])
    said = capsys.readouterr().out
    assert "training on 9 of 18 utterances, 0.00 of 0.00 hours" in said and "9 training utterances" in said
    assert checkpoint.load(recipe / "exp/share/best.pt")[0].training.train_fraction == 0.5
    for wrong in ("0", "1.5", "-1"):
        with pytest.raises(Exception, match="train_fraction lies above 0 and at most at 1"):
            cli.call(["train", "--recipe", str(recipe), "--exp", "share", f"--train-fraction={wrong}"])
