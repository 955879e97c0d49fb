"""Every row of the paper's tables is what its name says, builds, trains a step, decodes; bases of configurations."""

import re
from dataclasses import replace

import pytest
import torch

from ds2toolkit.config import ModelConfig
from ds2toolkit.errors import ConfigError
from ds2toolkit.model.ctc import ctc_loss, greedy
from ds2toolkit.model.deepspeech2 import DeepSpeech2
from ds2toolkit.model.recurrence import CELLS
from ds2toolkit.recipe import PACKAGE_CONF, conf_path, read_conf, training
from ds2toolkit.train.optimiser import optimiser

ROWS = sorted(f"paper/{path.stem}" for path in PACKAGE_CONF.glob("paper/*.yaml"))
NUM_BINS, NUM_TOKENS, WIDTH = 161, 6, 8


def small(config: ModelConfig) -> ModelConfig:
    """The same layers, a few units wide."""
    conv = replace(config.conv, channels=tuple(min(num, WIDTH) for num in config.conv.channels))
    return replace(config, conv=conv, rnn_size=WIDTH, params=None)


def batch():
    torch.manual_seed(1)
    feats_BTF, targets_BU = torch.randn(2, 60, NUM_BINS), torch.tensor([[1, 2, 2], [3, 4, 5]])
    return feats_BTF, torch.tensor([60, 47]), targets_BU, torch.tensor([3, 3])


def step(model, optimiser):
    feats_BTF, num_frames_B, targets_BU, num_targets_B = batch()
    loss = ctc_loss(*model(feats_BTF, num_frames_B), targets_BU, num_targets_B).sum()
    loss.backward()
    assert bool(loss.isfinite()) and all(bool(p.grad.isfinite().all()) for p in model.parameters())
    optimiser.step()


def build_train_and_decode(model_config, optimiser_config):
    torch.manual_seed(0)
    model = DeepSpeech2(model_config, NUM_BINS, NUM_TOKENS)
    before = [parameter.clone() for parameter in model.parameters()]
    step(model, optimiser(optimiser_config, model.parameters()))
    assert all(not torch.equal(*pair) for pair in zip(before, model.parameters()))
    feats_BTF, num_frames_B, *_ = batch()
    log_probs_BSV, num_out_B = model.eval()(feats_BTF, num_frames_B)
    paths = greedy(log_probs_BSV, num_out_B)
    assert num_out_B.tolist() == [-(-60 // model.time_stride), -(-47 // model.time_stride)]
    assert len(paths) == 2 and all(0 < token < NUM_TOKENS for path in paths for token in path)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_builds_trains_a_step_and_decodes(name):
    config = training(name, [])
    build_train_and_decode(small(config.model), config.optimiser)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "settings", [{}, {"bidirectional": False, "lookahead": 19}, {"batch_norm": False}], ids=["bi", "lookahead", "bias"]
)
def test_every_cell_builds_trains_a_step_and_decodes(cell, settings):
    config = training("paper/conv-3x2d", [])
    build_train_and_decode(small(replace(config.model, cell=cell, **settings)), config.optimiser)


def test_depth_rows_have_the_layers_of_their_names():
    found = {name: re.fullmatch(r"paper/(?:depth|norm-\w+)-(\d)x(\d)(?:-(\w+))?", name) for name in ROWS}
    matches = {name: match for name, match in found.items() if match}
    assert len(matches) == 16
    for name, match in matches.items():
        model = training(name, []).model
        num_layers = len(model.conv.channels) + model.num_rnn_layers + model.num_dense_layers
        assert (num_layers, model.num_rnn_layers) == (int(match[1]), int(match[2])), name
        assert model.cell == (match[3] or "rnn") and model.params == 38e6 and model.conv.kind == "1d", name
        assert model.batch_norm is not name.startswith("paper/norm-off"), name


@pytest.mark.parametrize(
    ("name", "num_layers", "out_size"),
    [
        ("1x1d", 1, 1280),
        ("2x1d", 2, 640),
        ("3x1d", 3, 512),
        ("1x2d", 1, 32 * 81),
        ("2x2d", 2, 32 * 41),
        ("3x2d", 3, 96 * 21),
    ],
)
def test_convolution_rows_have_the_sizes_of_their_names(name, num_layers, out_size):
    model = training(f"paper/conv-{name}", []).model
    with torch.device("meta"):
        conv = DeepSpeech2(replace(model, rnn_size=8, params=None), 161, 29).conv
    assert (len(conv.layers), conv.out_size, conv.time_stride) == (num_layers, out_size, 2)
    assert model.num_rnn_layers == 7 and model.params == 35e6 and model.cell == "rnn"


def test_other_rows_are_what_their_names_say():
    fractions = {percent: training(f"paper/data-{percent}", []).train_fraction for percent in (1, 10, 20, 50, 100)}
    assert fractions == {1: 0.01, 10: 0.1, 20: 0.2, 50: 0.5, 100: 1.0}
    for name in ROWS:
        config = training(name, [])
        if match := re.fullmatch(r"paper/size-(\d+)m-(\w+)", name):
            assert (config.model.params, config.model.cell) == (float(match[1]) * 1e6, match[2])
        if match := re.fullmatch(r"paper/bigrams-stride-(\d)", name):
            assert config.model.conv.strides == (int(match[1]),)
        if match := re.fullmatch(r"paper/sortagrad-(\w+)-norm-(\w+)", name):
            assert (config.batches.sortagrad, config.model.batch_norm) == (match[1] == "on", match[2] == "on")
    ahead = training("paper/row-convolution", []).model
    assert (ahead.bidirectional, ahead.lookahead) == (False, 19)


def test_the_row_of_deep_speech_1():
    model = training("paper/ds1", []).model
    with torch.device("meta"):
        network = DeepSpeech2(model, 161, 29)
    first, *dense = (layer.conv.weight.shape for layer in network.conv.layers)
    assert first == (2048, 161, 1, 2 * 9 + 1) and dense == [(2048, 2048, 1, 1)] * 2
    assert len(network.recurrent) == len(network.dense) == 1 and network.time_stride == 2
    assert not any(name.endswith("gamma") for name, _ in network.named_parameters())


def test_a_configuration_lies_on_its_base(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: paper/depth-7x5-gru\nseed: 3\nmodel: {params: 2e6}\n", encoding="utf-8")
    (tmp_path / "theirs.yaml").write_text("base: mine\nseed: 4\n", encoding="utf-8")
    config = training("theirs", ["model.clip=10"], tmp_path)
    assert (config.seed, config.model.params, config.model.clip, config.model.cell) == (4, 2e6, 10.0, "gru")
    assert config.batches.budget_s == training("paper", []).batches.budget_s == 1200


def test_under_its_own_name_it_lies_on_that_of_ds2toolkit(tmp_path):
    (tmp_path / "toy.yaml").write_text("base: toy\nnum_epochs: 3\n", encoding="utf-8")
    ours, theirs = training("toy", [], tmp_path), training("toy", [])
    assert ours.num_epochs == 3 and replace(ours, num_epochs=theirs.num_epochs) == theirs


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("nosuch", "no training configuration 'nosuch'"),
        ("loop", "no training configuration 'loop'"),
        ("[1]", r"no training configuration '\[1\]'"),
    ],
)
def test_a_base_that_is_no_configuration_is_refused(tmp_path, base, message):
    (tmp_path / "loop.yaml").write_text(f"base: {base}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_conf(conf_path("loop", tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.lookahead=3"], "bidirectional: false"),
        (["model.conv.kind=1d"], "kind 1d are such as 11"),
        (["model.num_rnn_layers=0"], "at least 1"),
        (["train_fraction=0"], "train_fraction"),
        (["train_fraction=1.5"], "train_fraction"),
        (["model.cell=elman"], "model.cell"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        training("paper/conv-2x2d", settings)


def test_a_wanted_number_of_parameters_has_to_become_a_width_first():
    with pytest.raises(ValueError, match="has not been turned into a width"):
        DeepSpeech2(ModelConfig(params=1e6), NUM_BINS, NUM_TOKENS)
