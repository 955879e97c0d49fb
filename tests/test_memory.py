"""The largest batch is tried before the first step: what does not fit lowers the budget, and nothing else changes."""

import ctypes
import multiprocessing
import resource
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from test_train import make_run, same_weights

from ds2toolkit.errors import UserError
from ds2toolkit.train import memory, room
from ds2toolkit.train.memory import Trial, fitting_budget, largest_batch

MB = 1e6
M_MMAP_THRESHOLD = -3  # malloc.h
WIDE = {
    "model": {
        "conv": {"channels": [24], "kernels": [[1, 1]], "strides": [[1, 1]]},
        "num_rnn_layers": 1,
        "rnn_size": 16,
    },
    "batches": {"budget_s": 18, "num_workers": 0},
    "num_epochs": 1,
}


def trial(run) -> Trial:
    return Trial(run.model, run.train, run.config)


def longest_batch_s(run) -> float:
    """Padded seconds, by the features: a little more than by the audio."""
    return max(len(batch.ids) * float(batch.num_frames_B.max()) / 100 for batch, _ in run.batches())


def test_the_largest_batch_has_the_most_padded_seconds():
    durations_s = np.array([1.0, 4.0, 4.0, 4.0, 8.5, 2.0])
    assert largest_batch(durations_s, 12.0) == [0, 5, 1]
    assert largest_batch(durations_s, 8.0) == [4]
    assert largest_batch(np.full(10, 3.0), 7.0) == [8, 9]


def test_two_small_parts_say_what_the_whole_takes(tmp_path, tone_cuts):
    one = trial(make_run(tmp_path, tone_cuts, **WIDE))
    batch = largest_batch(one.train.durations_s, 18.0)
    expected = one.expected_bytes(batch)
    assert len(batch) > 8 and expected == pytest.approx(room.peak_bytes(lambda: one.step(batch)), rel=0.5)
    assert expected > 50 * MB


@pytest.mark.parametrize("kernel_knows", [True, False])
def test_a_peak_is_seen_between_beginning_and_end(kernel_knows, monkeypatch):
    if not kernel_knows:
        monkeypatch.setattr(room, "CLEAR_REFS", Path("/nosuch/clear_refs"))

    def action() -> None:
        torch.ones(int(60 * MB), dtype=torch.uint8).max()

    assert 55 * MB < room.peak_bytes(action) < 120 * MB


def test_free_memory_is_no_more_than_the_machines():
    assert 0 < room.free_bytes() <= 1.5 * psutil.virtual_memory().available


@pytest.mark.parametrize(
    ("line", "root", "files", "expected"),
    [
        ("0::/job/step", "job", {"memory.max": "5000", "memory.current": "3000"}, [2100]),
        ("0::/job", "", {"memory.max": "max", "memory.current": "3000"}, []),
        ("4:memory:/job", "memory", {"memory.limit_in_bytes": "4000", "memory.usage_in_bytes": "5000"}, [0]),
        ("3:cpuset:/", "", {"memory.max": "1", "memory.current": "1"}, []),
    ],
)
def test_control_groups(tmp_path, monkeypatch, line, root, files, expected):
    """Those of containers and job queues; their caches of files are as good as free."""
    (tmp_path / "self").write_text(line + "\n", encoding="utf-8")
    for name, text in (files | {"memory.stat": "anon 7\ninactive_file 100"}).items():
        (tmp_path / "fs" / root).mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / root / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(room, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(room, "OWN_CGROUPS", tmp_path / "self")
    assert list(room._left_in_cgroups()) == expected


def test_nothing_changes_where_the_batch_fits(tmp_path, tone_cuts, capsys):
    run, tried = (make_run(tmp_path / name, tone_cuts, **WIDE) for name in ("run", "tried"))
    assert fitting_budget(trial(tried), 18.0, print) == 18.0 and capsys.readouterr().out == ""
    tried.state.budget_s = 18.0
    trial(tried).step(largest_batch(tried.durations_s, 18.0))
    assert same_weights(run, tried) and all(weight.grad is None for weight in tried.model.parameters())
    for one in (run, tried):
        one.run()
    assert same_weights(run, tried) and run.state.history[0]["train_loss"] == tried.state.history[0]["train_loss"]


def test_the_budget_is_lowered_and_kept(tmp_path, tone_cuts, capsys, monkeypatch):
    run = make_run(tmp_path, tone_cuts, **WIDE)
    needed = trial(run).expected_bytes(largest_batch(run.durations_s, 18.0))
    monkeypatch.setattr(memory, "free_bytes", lambda: int(0.6 * needed))
    run.run()
    lowered_s = run.state.budget_s
    assert 2.0 < lowered_s < 18.0 and any(lowered_s == pytest.approx(18 * 0.75**times) for times in range(1, 8))
    assert f"batches of 18 s of padded audio don't fit into memory: going on with batches.budget_s={lowered_s:.4g}" in (
        capsys.readouterr().out
    )
    again = make_run(tmp_path, tone_cuts, **WIDE)
    monkeypatch.setattr(memory, "free_bytes", lambda: pytest.fail("tried a second time"))
    assert again.resume() and again.budget_s == lowered_s
    again.fit_budget()
    assert longest_batch_s(again) <= 1.1 * lowered_s < longest_batch_s(make_run(tmp_path, tone_cuts, **WIDE))


def test_what_may_just_fit_is_tried_as_a_whole(tmp_path, tone_cuts, monkeypatch):
    one = trial(make_run(tmp_path, tone_cuts, **WIDE))
    batch = largest_batch(one.train.durations_s, 18.0)
    whole = []
    step = Trial.step

    def counted(self, indices, share=1.0) -> None:
        whole.append(share)
        step(self, indices, share)

    monkeypatch.setattr(Trial, "step", counted)
    monkeypatch.setattr(Trial, "expected_bytes", lambda self, indices: 70 * MB)
    for free, fits, tries in ((1000 * MB, True, 0), (100 * MB, True, 1), (71 * MB, False, 0)):
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        whole.clear()
        assert one.fits(batch) is fits and whole.count(1.0) == tries, free


def test_an_utterance_that_does_not_fit_alone_is_named(tmp_path, tone_cuts, monkeypatch):
    run = make_run(tmp_path, tone_cuts, **WIDE)
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    longest = max(tone_cuts[:18], key=lambda cut: cut.duration)
    with pytest.raises(UserError, match=f"utterance {longest.id}, 1 s long, does not fit into memory, not even alone"):
        run.run()
    assert not run.last.exists()


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path, tone_cuts):
    one = trial(make_run(tmp_path, tone_cuts, **WIDE))

    def wrong() -> None:
        torch.ones(2, 3) @ torch.ones(2, 3)

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        one.tried(wrong)
    assert not one.tried(lambda: torch.empty(2**50, dtype=torch.uint8)) and one.tried(lambda: torch.empty(2))


def needed(folder: Path, cuts, found) -> None:
    """In a process of its own, whose memory nothing used before: what the largest batch takes."""
    torch.set_num_threads(1)
    run = make_run(folder, cuts, **WIDE)
    found.send(trial(run).expected_bytes(largest_batch(run.durations_s, 18.0)))


def limited(folder: Path, cuts, room_bytes: int, found) -> None:
    """In a process of its own: an epoch's steps under a limit that malloc meets.

    glibc's malloc learns to keep large blocks, which falls out differently in every run; here it gives them back at once.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 17)
    torch.set_num_threads(1)
    run = make_run(folder, cuts, **WIDE)
    trial(run).step([0])
    limit = psutil.Process().memory_info().vms + room_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    whole_fits = trial(run).tried(lambda: trial(run).step(largest_batch(run.durations_s, 18.0)))
    run.fit_budget()
    for batch, _ in run.batches():
        run.step(batch, 0.0)
    found.send((whole_fits, run.budget_s, run.state.num_utterances))


def test_under_a_real_limit_it_trains_with_what_fits(tmp_path, tone_cuts):
    """A limit of the system, at which malloc fails: the largest batch does not fit, those of the lowered budget do."""
    room_bytes = int(0.4 * elsewhere(needed, tmp_path / "free", tone_cuts))
    whole_fits, budget_s, num_utterances = elsewhere(limited, tmp_path / "tight", tone_cuts, room_bytes)
    assert not whole_fits and 0 < budget_s < 18.0 and num_utterances == 18


def elsewhere(job, *arguments):
    """What a job sends from a fresh process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=job, args=(*arguments, there))
    child.start()
    child.join(600)
    assert child.exitcode == 0
    return here.recv()
