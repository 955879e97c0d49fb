"""What follows from the dev set and the count of steps: rates, the best epoch, when to stop, the order of lengths."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_train import TINY, make_run

from ds2toolkit import checkpoint
from ds2toolkit.config import OptimiserConfig, TrainConfig, from_dict
from ds2toolkit.errors import ConfigError
from ds2toolkit.train.schedule import learning_rate
from ds2toolkit.train.state import State, num_disappointments, since_best

STILL = {"model": TINY["model"] | {"batch_norm": False}}
NO_STEP = {"kind": "sgd", "learning_rate": 1e-20, "schedule": "anneal_on_dev", "anneal_factor": 2.0}
COARSE = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


def history(*errors: float, losses: tuple[float, ...] = ()) -> list[dict[str, float]]:
    losses = losses or (1.0,) * len(errors)
    return [
        {"epoch": number, "train_loss": 1.0, "dev_loss": loss, "dev_error_rate": error, "seconds": 0.0}
        for number, (error, loss) in enumerate(zip(errors, losses, strict=True), start=1)
    ]


def test_the_papers_rate_falls_every_epoch():
    config = OptimiserConfig()
    rates = [learning_rate(config, State(epoch=epoch), 0.5) for epoch in (1, 4)]
    assert rates == [config.learning_rate, pytest.approx(config.learning_rate / 1.2**3)]


def test_one_cycle():
    config = OptimiserConfig(schedule="one_cycle")
    top, rates = config.learning_rate, [learning_rate(config, State(), step / 100) for step in range(101)]
    assert max(rates) == pytest.approx(top) and rates.index(max(rates)) == 25
    assert rates[0] == pytest.approx(top / 10) and rates[-1] == pytest.approx(top / 200)


@pytest.mark.parametrize("schedule", ["anneal", "anneal_on_dev"])
def test_warm_up_rises_linearly_to_the_schedule(schedule):
    config = OptimiserConfig(schedule=schedule, learning_rate=1.0, warm_up_steps=4, anneal_factor=2.0)
    seen = history(0.5, 0.5)  # two epochs, of which the second brought nothing
    rates = [learning_rate(config, State(epoch=1, step=step), 0.0) for step in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert learning_rate(config, State(epoch=2, step=1, history=seen), 0.0) == 0.25


def test_one_cycle_warms_up_by_itself():
    with pytest.raises(ConfigError, match="one_cycle warms up by itself"):
        OptimiserConfig(schedule="one_cycle", warm_up_steps=10)


@pytest.mark.parametrize(
    ("errors", "patience", "expected"),
    [
        ((), 1, 0),
        ((0.9, 0.8, 0.7), 1, 0),
        ((0.9, 0.9, 0.8), 1, 1),
        ((0.5, 0.9, 0.8, 0.7), 1, 3),  # better than the epoch before is not better than the best
        ((0.5, 0.9, 0.8, 0.7), 2, 1),
        ((0.5, 0.6, 0.6, 0.6, 0.6), 2, 2),
        ((0.5, 0.6, 0.4, 0.6, 0.6), 2, 1),
    ],
)
def test_annealing_on_dev_counts_epochs_without_a_new_best(errors, patience, expected):
    assert num_disappointments(history(*errors), patience) == expected
    config = OptimiserConfig(schedule="anneal_on_dev", learning_rate=8.0, anneal_factor=2.0, patience=patience)
    assert learning_rate(config, State(epoch=len(errors) + 1, history=history(*errors)), 0.0) == 8.0 / 2**expected


def test_among_equal_error_rates_the_loss_decides():
    assert since_best(history(1.0, 1.0, 1.0, losses=(9.0, 7.0, 7.0))) == 1
    assert since_best(history(0.2, 0.3, losses=(9.0, 1.0))) == 1
    assert since_best([]) == 0


@given(COARSE, st.integers(1, 3))
def test_a_new_best_is_what_no_epoch_before_was(pairs, patience):
    lines = history(*(error for error, _ in pairs), losses=tuple(loss for _, loss in pairs))
    is_best = [since_best(lines[: end + 1]) == 0 for end in range(len(lines))]
    assert is_best == [all(pair < before for before in pairs[:end]) for end, pair in enumerate(pairs)]
    assert num_disappointments(lines, 1) == is_best.count(False)
    assert num_disappointments(lines, patience) <= is_best.count(False) // patience


def test_a_run_without_progress_is_annealed_and_stopped(tmp_path, tone_cuts, capsys):
    settings = STILL | {"optimiser": NO_STEP, "early_stop_epochs": 3, "num_epochs": 9}
    run = make_run(tmp_path, tone_cuts, **settings)
    run.run()
    assert run.state.epoch == 5 and "stopped early: no new best on the dev set for 3 epochs" in capsys.readouterr().out
    steps = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = {line["epoch"]: line["learning_rate"] for line in steps}
    assert rates == {1: 1e-20, 2: 1e-20, 3: 0.5e-20, 4: 0.25e-20}
    assert checkpoint.load(tmp_path / "best.pt")[1]["epoch"] == 2  # kept after the first, before the second
    again = make_run(tmp_path, tone_cuts, **settings)
    assert again.resume() and again.finished()


@pytest.mark.parametrize(("sortagrad", "num_sorted"), [(True, 1), (False, 0), (0, 0), (1, 1), (2, 2)])
def test_so_many_epochs_go_from_short_to_long(tmp_path, tone_cuts, sortagrad, num_sorted):
    run = make_run(tmp_path, tone_cuts, batches={"budget_s": 2, "num_workers": 0, "sortagrad": sortagrad})
    rising = []
    for run.state.epoch in (1, 2, 3):
        longest = [int(batch.num_frames_B.max()) for batch, _ in run.batches()]
        rising.append(all(left <= right for left, right in pairwise(longest)))
    assert rising == [True] * num_sorted + [False] * (3 - num_sorted)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"batches": {"sortagrad": -1}}, "sortagrad"),
        ({"batches": {"sortagrad": "often"}}, "sortagrad"),
        ({"batches": {"budget_s": 0}}, "budget_s lies above 0"),
        ({"optimiser": {"patience": 0}}, "patience is at least 1"),
        ({"optimiser": {"warm_up_steps": -1}}, "warm_up_steps"),
        ({"optimiser": {"kind": "adagrad"}}, "optimiser.kind"),
        ({"average": {"decay": 1.0}}, "decay lies between 0"),
        ({"model": {"dropout": 1.0}}, "dropout lies between 0"),
        ({"early_stop_epochs": -1}, "early_stop_epochs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(raw, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(TrainConfig, raw, "c.yaml")
