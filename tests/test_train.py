"""Training: it learns, it can be stopped anywhere and goes on to the same numbers, its checkpoints are whole."""

import json
import math
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig, RecipeConfig, TrainConfig, from_dict
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
from ds2toolkit.train.evaluate import evaluate
from ds2toolkit.train.loop import Run
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


DROPOUT = {"model": TINY["model"] | {"num_rnn_layers": 2, "num_dense_layers": 2, "dropout": 0.3}}


@pytest.mark.parametrize(("stop_at", "changes"), [(1, {}), (4, DROPOUT | {"average": {"decay": 0.9}}), (7, DROPOUT)])
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, tone_cuts, stop_at, changes, monkeypatch):
    whole = make_run(tmp_path / "whole", tone_cuts, **changes)
    whole.run()
    part = make_run(tmp_path / "part", tone_cuts, save_every_s=0.0, **changes)
    step = Run.step

    def stopping(self, *arguments):
        if self.state.step == stop_at:
            raise Stop
        return step(self, *arguments)

    monkeypatch.setattr(Run, "step", stopping)
    with pytest.raises(Stop):
        part.run()
    monkeypatch.undo()
    again = make_run(tmp_path / "part", tone_cuts, save_every_s=0.0, **changes)
    assert again.resume() and again.state.step == stop_at
    again.run()
    assert losses(again) == losses(whole) and same_weights(again, whole)


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
    loss, counts = evaluate(run.recogniser, run.dev, run.budget_s)
    assert math.isfinite(loss) and counts.ref == sum(len(cut.supervisions[0].text) for cut in tone_cuts[18:])
    run.dev.vocabulary = Vocabulary(("<blk>", "#"))
    assert math.isfinite(evaluate(run.recogniser, run.dev, run.budget_s)[0])


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
    for path in (run.last, tmp_path / "previous.pt"):
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


def test_checkpoints_of_before_these_settings_still_load(tmp_path, tone_cuts):
    """Without dropout, averages, early stopping or a tried budget; a run goes on from one in the middle of an epoch."""
    whole = make_run(tmp_path / "whole", tone_cuts)
    whole.run()
    part = make_run(tmp_path / "part", tone_cuts)
    for number, (batch, audio_s) in enumerate(part.batches()):
        if number == 2:
            break
        part.step(batch, part.state.audio_s / (3 * part.durations_s.sum()))
        part.state = replace(part.state, batch=number + 1, step=number + 1, audio_s=part.state.audio_s + audio_s)
    part.save(part.last)
    raw = torch.load(part.last, weights_only=True)
    training, state = raw["recogniser"]["training"], raw["state"]
    for section, *names in ((training["model"], "dropout"), (training, "average", "early_stop_epochs"),
                            (training["optimiser"], "patience", "warm_up_steps"), (state, "budget_s", "average")):  # fmt: skip
        for name in names:
            del section[name]
    torch.save(raw | {"state": state | {"best": math.inf}}, part.last)
    again = make_run(tmp_path / "part", tone_cuts)
    assert again.resume() and again.state.step == 2 and again.budget_s == 6
    again.run()
    assert losses(again) == losses(whole) and same_weights(again, whole)


def snapshot(run: Run) -> list[torch.Tensor]:
    """All that a step changes: weights, statistics, the optimiser's memory, the average."""
    memory = [value for one in run.optimiser.state.values() for value in one.values()]
    return [torch.as_tensor(one).clone() for one in (*run.model.state_dict().values(), *memory, *run.average.mean)]


def bad_batches(run: Run) -> dict[str, tuple[Batch, str]]:
    """Batches of utterances, and what is to be said of each."""
    batch = next(run.batches())[0]
    names = batch.ids
    feats_BTF = batch.feats_BTF.clone()
    feats_BTF[1, 3, 5] = math.inf
    too_long = replace(batch, targets_BU=torch.full((len(names), 300), 2), num_targets_B=torch.full((len(names),), 3))
    too_long.num_targets_B[2] = 300
    return {
        "features": (replace(batch, feats_BTF=feats_BTF), f"features not finite: {names[1]}$"),
        "loss": (too_long, f"loss not finite: {names[2]}$"),
    }


@pytest.mark.parametrize("kind", ["features", "loss"])
def test_a_step_that_is_not_finite_names_the_utterance_and_changes_nothing(tmp_path, tone_cuts, kind):
    run = make_run(tmp_path, tone_cuts, average={"decay": 0.9})
    run.say = (said := []).append
    good = next(run.batches())[0]
    bad, message = bad_batches(run)[kind]
    run.step(good, 0.1)
    before = snapshot(run)
    loss, _, _ = run.step(bad, 0.2)
    assert not math.isfinite(loss) and len(said) == 1 and all(map(torch.equal, before, snapshot(run)))
    assert re.search(message, said[0]), said
    assert run.state.bad_steps == 1 and run.average.num_steps == 1
    run.step(good, 0.2)
    assert run.state.bad_steps == 0 and not all(map(torch.equal, before, snapshot(run)))


def test_a_gradient_that_is_not_finite_names_the_batch(tmp_path, tone_cuts):
    run = make_run(tmp_path, tone_cuts)
    run.say = (said := []).append
    run.model.output.weight.register_hook(lambda gradient: gradient * math.nan)
    batch = next(run.batches())[0]
    loss, norm, _ = run.step(batch, 0.1)
    assert math.isfinite(loss) and not math.isfinite(norm)
    assert len(batch.ids) > 5
    named = f"{', '.join(batch.ids[:5])} and {len(batch.ids) - 5} more"
    assert said == [f"step 1 skipped: gradient not finite, of the batch {named}"]


def test_an_utterance_of_broken_features_does_not_spoil_the_network(tmp_path, tone_cuts, capsys, monkeypatch):
    run, broken = make_run(tmp_path / "run", tone_cuts, num_epochs=2), tone_cuts[5].id
    load = run.train.load
    monkeypatch.setattr(run.train, "load", lambda cut, seed: load(cut, seed) * (np.nan if cut.id == broken else 1))
    run.run()
    assert capsys.readouterr().out.count(f"skipped: features not finite: {broken}\n") == 2
    assert all(bool(tensor.isfinite().all()) for tensor in run.model.state_dict().values())
    assert math.isfinite(run.state.history[-1]["train_loss"])
    steps = [json.loads(line) for line in (tmp_path / "run/steps.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["loss"] for line in steps].count(None) == 2 and len(steps) == run.state.step


def test_a_diverging_run_ends_with_advice(tmp_path, tone_cuts, capsys):
    steep = {"kind": "sgd", "learning_rate": 1e30, "max_gradient_norm": 1e9}
    run = make_run(tmp_path, tone_cuts, num_epochs=60, optimiser=steep)
    with pytest.raises(UserError, match=r"20 steps in a row .*\n.*--restart --set optimiser.learning_rate=3e\+29 "):
        run.run()
    assert capsys.readouterr().out.count("skipped: loss not finite: ") == 20 and run.state.num_utterances < 18


def test_dropout_zeroes_values_in_training_alone(tmp_path, tone_cuts):
    run = make_run(tmp_path, tone_cuts, **DROPOUT)
    batch = next(run.batches())[0]

    def log_probs(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return run.model(batch.feats_BTF, batch.num_frames_B)[0].detach()

    run.model.train()
    assert torch.equal(log_probs(1), log_probs(1)) and not torch.equal(log_probs(1), log_probs(2))
    run.model.eval()
    assert torch.equal(log_probs(1), log_probs(2))
    plain = make_run(tmp_path, tone_cuts, model=DROPOUT["model"] | {"dropout": 0.0}).model
    plain.load_state_dict(run.model.state_dict())
    assert torch.equal(log_probs(1), plain.eval()(batch.feats_BTF, batch.num_frames_B)[0])


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_average_of_weights_and_statistics(tmp_path, tone_cuts, decay):
    """By its definition: the plain mean at first, then decay times itself."""
    run = make_run(tmp_path, tone_cuts, average={"decay": decay})
    batch, mean = next(run.batches())[0], 0.0
    for number in range(1, 6):
        run.step(batch, 0.1)
        share = max(1 - decay, 1 / number)
        mean = (1 - share) * mean + share * torch.cat([x.flatten().double() for x in run.model.state_dict().values()])
    torch.testing.assert_close(torch.cat([x.flatten().double() for x in run.average.mean]), mean, atol=1e-6, rtol=1e-5)


def test_the_average_is_measured_and_kept_as_best(tmp_path, tone_cuts):
    run = make_run(tmp_path, tone_cuts, average={"decay": 0.99}, num_epochs=1)
    run.run()
    best, last = (checkpoint.load(tmp_path / name)[0] for name in ("best.pt", "last.pt"))
    assert all(map(torch.equal, best.model.state_dict().values(), run.average.mean))
    assert same_weights(last, run) and not same_weights(best, run)
    loss, counts = evaluate(best, run.dev, run.budget_s)
    assert (loss, counts.rate) == (run.state.history[0]["dev_loss"], run.state.best)
    assert evaluate(run.recogniser, run.dev, run.budget_s)[0] != loss


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_epoch_that_is_kept(tmp_path, tone_cuts, keep):
    """A learning rate that grows until nothing is left of what was learned: the last epoch is not the best."""
    ruinous = {"kind": "sgd", "learning_rate": 1e-4, "schedule": "anneal", "anneal_factor": 0.02}
    run = make_run(tmp_path, tone_cuts, num_epochs=3, optimiser=ruinous, keep=keep, seed=1)
    run.run()
    history = run.state.history
    best = min(history, key=lambda line: (line["dev_error_rate"], line["dev_loss"]))
    assert best is not history[-1]
    dev_loss, _ = evaluate(checkpoint.load(tmp_path / "best.pt")[0], run.dev, run.budget_s)
    assert dev_loss == (best if keep == "best" else history[-1])["dev_loss"]


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_every_optimiser_learns(tmp_path, tone_cuts, kind):
    rate = {"sgd": 1e-3, "adam": 1e-2, "adamw": 1e-2}[kind]
    settings = {"kind": kind, "learning_rate": rate, "loss_reduction": "mean", "momentum": 0.9, "weight_decay": 1e-4}
    run = make_run(tmp_path, tone_cuts, optimiser=settings)
    batch = next(run.batches())[0]
    before, *_, after = [run.step(batch, 0.1)[0] for _ in range(8)]
    assert after < 0.9 * before


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
