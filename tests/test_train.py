"""Training: it learns, it can be stopped anywhere and goes on to the same numbers, its checkpoints are whole."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig, OptimiserConfig, RecipeConfig, TrainConfig, from_dict
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.batch import Batch, Utterances
from ds2toolkit.data.features import FeatureStats
from ds2toolkit.data.packed import Cuts
from ds2toolkit.data.store import load_features
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.model.ctc import min_frames
from ds2toolkit.recipe import Recipe
from ds2toolkit.text import pieces
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.train.loop import Run
from ds2toolkit.train.optimiser import learning_rate
from ds2toolkit.verbs.train import fitting, fraction, noises

FEATURES = FeatureConfig(storage="on_the_fly")
SPLITS = {"train": ["train"], "dev": ["dev"], "test": ["test"]}
TINY = {
    "num_epochs": 3,
    "model": {
        "conv": {"channels": [4], "kernels": [[21, 5]], "strides": [[8, 2]]},
        "num_rnn_layers": 1,
        "rnn_size": 24,
    },
    "optimiser": {"kind": "adamw", "learning_rate": 0.01, "schedule": "one_cycle", "loss_reduction": "mean"},
    "batches": {"budget_s": 6, "num_workers": 0},
    "spec_augment": {"num_frequency_masks": 1, "num_time_masks": 1},
}


def make_run(folder, cuts, **changes) -> Run:
    config = from_dict(TrainConfig, TINY | changes, "test")
    stats = FeatureStats.of(load_features(cut, FEATURES) for cut in cuts)
    recogniser = Recogniser.new(config, Vocabulary.english_characters(), FEATURES, stats, "english", "character")
    train, dev = (
        Utterances(part, recogniser.vocabulary, FEATURES, stats, masks)
        for part, masks in ((cuts[:18], config.spec_augment), (cuts[18:], None))
    )
    folder.mkdir(parents=True, exist_ok=True)
    return Run(folder, recogniser, train, dev)


def losses(run: Run) -> list[tuple[float, float]]:
    return [(line["train_loss"], line["dev_loss"]) for line in run.state.history]


def same_weights(one, other) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_learns_tones(tmp_path, tone_cuts):
    run = make_run(tmp_path, tone_cuts, num_epochs=25, spec_augment={})
    run.run()
    assert run.state.history[-1]["dev_loss"] < 0.2 * run.state.history[0]["dev_loss"]
    assert run.state.best <= 0.1
    best, _ = checkpoint.load(tmp_path / "best.pt")
    assert best.vocabulary == run.recogniser.vocabulary and best.features == FEATURES


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 4, 7])
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, tone_cuts, stop_at, monkeypatch):
    whole = make_run(tmp_path / "whole", tone_cuts)
    whole.run()
    part = make_run(tmp_path / "part", tone_cuts, save_every_s=0.0)
    step = Run.step

    def stopping(self, *arguments):
        if self.state.step == stop_at:
            raise Stop
        return step(self, *arguments)

    monkeypatch.setattr(Run, "step", stopping)
    with pytest.raises(Stop):
        part.run()
    monkeypatch.undo()
    again = make_run(tmp_path / "part", tone_cuts, save_every_s=0.0)
    assert again.resume() and again.state.step == stop_at
    again.run()
    assert losses(again) == losses(whole) and same_weights(again, whole)


def test_killed_outright_it_goes_on(tmp_path, tone_cuts):
    """kill -9 while it writes checkpoints at every step: what is left is whole and leads to the same weights."""
    script = (
        "import sys, pickle, torch; sys.path.insert(0, {tests!r}); torch.set_num_threads(1)\n"
        "from lhotse import CutSet; from pathlib import Path; from test_train import make_run\n"
        "run = make_run(Path({out!r}), list(CutSet.from_file({cuts!r})), save_every_s=0.0)\n"
        "run.resume(); run.run()\n"
    )
    from lhotse import CutSet

    CutSet.from_cuts(tone_cuts).to_file(tmp_path / "cuts.jsonl")
    settings = {"tests": os.path.dirname(__file__), "out": str(tmp_path / "run"), "cuts": str(tmp_path / "cuts.jsonl")}
    command = [sys.executable, "-c", script.format(**settings)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run" / "last.pt").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    whole = make_run(tmp_path / "whole", tone_cuts)
    whole.run()
    finished = make_run(tmp_path / "run", tone_cuts, save_every_s=0.0)
    finished.config = finished.recogniser.training
    assert finished.resume() and finished.finished()
    assert losses(finished) == losses(whole) and same_weights(finished, whole)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_training_text_that_cannot_be_spelled_ends_in_one_line(tmp_path, tone_cuts, num_workers):
    run = make_run(tmp_path, tone_cuts, batches={"budget_s": 6, "num_workers": num_workers})
    run.train.vocabulary = Vocabulary(("<blk>", "a", "b"))
    with pytest.raises(UserError, match="^characters outside the vocabulary: 'c', in '[abc]+'$"):
        run.run()


def test_dev_texts_may_hold_what_the_vocabulary_does_not(tmp_path, tone_cuts):
    run = make_run(tmp_path, tone_cuts)
    run.dev.vocabulary = Vocabulary(("<blk>", "#", "b"))
    assert len({len(run.dev[i].targets) for i in range(len(run.dev))} | {0}) > 1
    loss, counts = run.evaluate()
    assert math.isfinite(loss) and counts.ref == sum(len(cut.supervisions[0].text) for cut in tone_cuts[18:])
    run.dev.vocabulary = Vocabulary(("<blk>", "#"))
    assert math.isfinite(run.evaluate()[0])


def text_cut(number: int, text: str, seconds: float) -> MonoCut:
    return MonoCut(str(number), 0.0, seconds, 0, [SupervisionSegment(str(number), "-", 0.0, seconds, text=text)])


WORDS = ["aab", "ab", "bee", "abba", "a", "be a bee"]
VOCABULARIES = {
    "characters": Vocabulary.english_characters(),
    "pieces": Vocabulary.of_pieces(pieces.train(WORDS * 20, "bpe", 9)),
}
RECOGNISERS = {
    kind: Recogniser.new(from_dict(TrainConfig, TINY, "test"), vocabulary, FEATURES, None, "english", "word")
    for kind, vocabulary in VOCABULARIES.items()
}


@pytest.mark.parametrize("kind", RECOGNISERS)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(1, 30)), min_size=1))
def test_what_ctc_cannot_align_is_left_out(kind, sizes):
    """As each cut on its own says, though few of them are looked at."""
    recogniser = RECOGNISERS[kind]
    cuts = [text_cut(number, text, num_frames / 100) for number, (text, num_frames) in enumerate(sizes)]
    fits = [
        number
        for number, (text, num_frames) in enumerate(sizes)
        if math.ceil(num_frames / 2) >= min_frames(recogniser.vocabulary.encode(text))
    ]
    assert fitting(recogniser, Cuts.of(cuts)).tolist() == fits


NOISY = {"noise": {"fraction": 0.4, "reverb_fraction": 0.2}}


def test_noise_that_is_not_prepared_is_named_with_its_command(tmp_path, tone_cuts):
    recipe = Recipe(tmp_path, None, from_dict(RecipeConfig, {"splits": SPLITS, "title": "x"}, "test"))
    recogniser = make_run(tmp_path / "exp", tone_cuts, **NOISY).recogniser
    with pytest.raises(UserError, match=r"train needs .*noise/cuts\.jsonl\.gz, which `ds2 noise` writes"):
        noises(recipe, recogniser, tone_cuts[0])
    for name in ("cuts", "rirs"):
        cut_files.write(tone_cuts[:3], tmp_path / "data" / "noise" / f"{name}.jsonl.gz")
    assert len(noises(recipe, recogniser, tone_cuts[0]).noises) == 3
    moved = text_cut(0, "a", 1.0)
    moved.recording = Recording("0", [AudioSource("file", [0], "/nowhere/a.flac")], 16000, 16000, 1.0)
    with pytest.raises(DataError, match="/nowhere/a.flac is gone"):
        noises(recipe, recogniser, moved)
    assert noises(recipe, make_run(tmp_path / "exp", tone_cuts).recogniser, moved) is None


def test_other_settings_are_not_mixed_in(tmp_path, tone_cuts):
    make_run(tmp_path, tone_cuts, num_epochs=1).run()
    with pytest.raises(UserError, match="other settings"):
        make_run(tmp_path, tone_cuts, num_epochs=2).resume()


def test_a_damaged_checkpoint_is_named(tmp_path, tone_cuts):
    make_run(tmp_path, tone_cuts, num_epochs=1).run()
    raw = (tmp_path / "best.pt").read_bytes()
    for damaged in (b"", raw[: len(raw) // 2], b"not a checkpoint at all"):
        (tmp_path / "bad.pt").write_bytes(damaged)
        with pytest.raises(DataError, match="bad.pt is not a whole checkpoint"):
            checkpoint.load(tmp_path / "bad.pt")


def test_a_single_changed_byte_is_noticed(tmp_path, tone_cuts):
    make_run(tmp_path, tone_cuts, num_epochs=1).run()
    raw = bytearray((tmp_path / "best.pt").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "bad.pt").write_bytes(raw)
    with pytest.raises(DataError, match="bad.pt is not a whole checkpoint: the checksum"):
        checkpoint.load(tmp_path / "bad.pt")


def test_it_resumes_from_the_checkpoint_before_a_damaged_one(tmp_path, tone_cuts, capsys):
    run = make_run(tmp_path, tone_cuts)
    run.run()
    raw = bytearray(run.last.read_bytes())
    raw[len(raw) // 2] ^= 1
    run.last.write_bytes(raw)
    again = make_run(tmp_path, tone_cuts)
    assert again.resume() and again.state.epoch == 3
    said = capsys.readouterr().out
    assert "last.pt is not a whole checkpoint" in said and "previous.pt" in said
    assert make_run(tmp_path, tone_cuts).resume()  # what was damaged is gone, before it could become the previous one
    again.run()
    assert losses(again) == losses(run) and same_weights(again, run)


def test_two_damaged_checkpoints_end_it(tmp_path, tone_cuts):
    run = make_run(tmp_path, tone_cuts)
    run.run()
    for path in (run.last, run.previous):
        path.write_bytes(b"no")
    with pytest.raises(DataError, match="previous.pt is not a whole checkpoint"):
        make_run(tmp_path, tone_cuts).resume()


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": 1, "recogniser": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="evil.pt"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_diverging_run_ends_with_advice(tmp_path, tone_cuts):
    run = make_run(tmp_path, tone_cuts, num_epochs=60)
    with torch.no_grad():
        run.model.output.weight.fill_(math.nan)
    with pytest.raises(UserError, match="learning_rate"):
        run.run()
    assert run.state.num_utterances == 0


def test_the_gradient_norm_is_clipped_and_sums_over_utterances(tmp_path, tone_cuts):
    """The norm of a batch seen twice is twice the norm of the batch: the paper's 400 depends on the sum."""
    run = make_run(tmp_path, tone_cuts, optimiser={"loss_reduction": "sum", "max_gradient_norm": 1e-3})
    utterances = [run.train[i] for i in range(3)]
    norms = []
    for batch in (Batch.of(utterances), Batch.of(utterances * 2)):
        fresh = make_run(tmp_path, tone_cuts, optimiser={"loss_reduction": "sum", "max_gradient_norm": 1e-3})
        _, norm, _ = fresh.step(batch, 0.0)
        norms.append(norm)
        clipped = torch.stack([p.grad.norm() for p in fresh.model.parameters()]).norm()
        assert clipped <= 1.001e-3
    assert norms[1] == pytest.approx(2 * norms[0], rel=1e-4)


def test_schedules():
    anneal = OptimiserConfig()
    assert learning_rate(anneal, 1, 0.0) == anneal.learning_rate
    assert learning_rate(anneal, 4, 0.5) == pytest.approx(anneal.learning_rate / 1.2**3)
    cycle = OptimiserConfig(schedule="one_cycle")
    rates = [learning_rate(cycle, 1, step / 100) for step in range(101)]
    assert max(rates) == pytest.approx(cycle.learning_rate) and rates.index(max(rates)) == 25
    assert rates[0] == pytest.approx(cycle.learning_rate / 10) and rates[-1] == pytest.approx(cycle.learning_rate / 200)


@given(st.integers(1, 500), st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.integers(0, 3))
def test_a_smaller_share_of_the_training_set_is_part_of_a_larger_one(num_utterances, one, other, seed):
    small, large = (
        set(fraction(num_utterances, TrainConfig(seed=seed, train_fraction=share)).tolist()) for share in sorted((one, other))
    )
    assert small <= large <= set(range(num_utterances))
    assert len(large) == max(1, round(max(one, other) * num_utterances))


def test_a_number_of_parameters_becomes_a_width_that_the_checkpoint_carries(tmp_path):
    config = from_dict(TrainConfig, TINY | {"model": TINY["model"] | {"params": 3e5}}, "test")
    recogniser = Recogniser.new(config, Vocabulary.english_characters(), FEATURES, None, "english", "word")
    count = sum(parameter.numel() for parameter in recogniser.model.parameters())
    assert abs(count - 3e5) < 0.02 * 3e5 and recogniser.training.model.params is None
    checkpoint.save(tmp_path / "best.pt", recogniser, {})
    assert checkpoint.load(tmp_path / "best.pt")[0].training == recogniser.training
    assert recogniser.same_setting(Recogniser.new(config, recogniser.vocabulary, FEATURES, None, "english", "word"))
