"""Sizes: the width for a number of parameters, operations, and the table of `ds2 size`."""

import inspect
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, baddbmm_flop

from ds2toolkit.config import ConvConfig, ModelConfig
from ds2toolkit.errors import ConfigError
from ds2toolkit.model.deepspeech2 import DeepSpeech2
from ds2toolkit.model.size import flops_a_second, num_parameters, outline, solved
from ds2toolkit.recipe import PACKAGE_CONF, training
from ds2toolkit.verbs.size import names, run

ROWS = sorted(f"paper/{path.stem}" for path in PACKAGE_CONF.glob("paper/*.yaml"))
BINS, TOKENS = 161, 29


def count(config):
    return num_parameters(outline(config, BINS, TOKENS))


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_the_parameters_it_asks_for(name):
    config = training(name, []).model
    if config.params is not None:
        assert abs(count(solved(config, BINS, TOKENS)) / config.params - 1) < 0.02
    else:
        assert name == "paper/ds1"


def test_no_other_width_comes_nearer():
    config = ModelConfig(cell="gru", params=20e6)
    width = solved(config, BINS, TOKENS).rnn_size
    widths = (width - 8, width, width + 8)
    assert min(widths, key=lambda width: abs(count(replace(config, rnn_size=width, params=None)) - 20e6)) == width
    assert width % 8 == 0


def test_solving_twice_or_nothing_changes_nothing():
    config = solved(ModelConfig(params=5e6), BINS, TOKENS)
    assert config.params is None and solved(config, BINS, TOKENS) is config


def test_parameters_by_hand():
    sizes = {"num_rnn_layers": 2, "num_dense_layers": 2, "rnn_size": 8}
    config = ModelConfig(conv=ConvConfig((7,), (11,), (2,), "1d"), cell="lstm", **sizes)
    conv = 7 * 161 * 11 + 2 * 7
    recurrent = 4 * 8 * 7 + 4 * 8 * 8 + 2 * (2 * 4 * 8 * 8 + 2 * 4 * 8)
    assert count(config) == conv + recurrent + (8 * 8 + 2 * 8) + (8 * 29 + 29)


def test_too_few_parameters_are_refused():
    with pytest.raises(ConfigError, match=r"no rnn_size gives 0\.1 M parameters: 8 gives 0\.91 M"):
        solved(ModelConfig(conv=ConvConfig((512,), (11,), (2,), "1d"), params=1e5), BINS, TOKENS)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("name", ["conv-3x2d", "conv-2x1d", "row-convolution", "ds1"])
def test_operations_are_those_that_torch_counts(name, cell):
    config = training(f"paper/{name}", []).model
    conv = replace(config.conv, channels=tuple(min(num, 8) for num in config.conv.channels))
    config = replace(config, conv=conv, cell=cell, rnn_size=12, params=None)
    model = DeepSpeech2(config, BINS, TOKENS).eval()
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: inspect.unwrap(baddbmm_flop)})
    with counter, torch.no_grad():
        model(torch.randn(1, 48, BINS), torch.tensor([48]))
    assert counter.get_total_flops() == pytest.approx(flops_a_second(model, 48))


def test_the_table_lists_every_row_of_the_paper(capsys):
    run(["paper/*"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ROWS
    (deep,) = (line.split() for line in lines if line.startswith("paper/depth-5x1-rnn"))
    assert deep[1:-4] == "1 conv 1d + 1 rnn + 3 dense".split() and deep[-2] == "20"
    assert float(deep[-3]) == pytest.approx(38, rel=0.02)
    # Almost all parameters are met once an output frame, 50 frames a second, two operations each.
    assert float(deep[-1]) == pytest.approx(38e6 * 2 * 50 / 1e9, rel=0.02)


def test_names_and_paths(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: {rnn_size: 16}\n", encoding="utf-8")
    assert names(str(path)) == [str(path)] and names("small") == ["small"]
    assert names("paper/size-70m-*") == ["paper/size-70m-gru", "paper/size-70m-rnn"]
    with pytest.raises(ConfigError, match="'nosuch/\\*'"):
        names("nosuch/*")
