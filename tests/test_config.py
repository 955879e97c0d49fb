"""Configurations: what YAML says is what comes out, and everything else is refused by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.config import RecipeConfig, TrainConfig, from_dict, merge, override, read_yaml, to_dict
from ds2toolkit.errors import ConfigError
from ds2toolkit.recipe import training

CONFS = sorted(path for where in ("egs/*/conf", "ds2toolkit/conf") for path in Path(__file__).parent.parent.glob(f"{where}/*.yaml"))


def test_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.optimiser.kind, config.optimiser.momentum, config.optimiser.max_gradient_norm) == ("sgd", 0.99, 400)
    assert config.optimiser.loss_reduction == "sum" and config.batches.sortagrad and config.num_epochs == 20


def test_round_trip_through_plain_values():
    raw = {"seed": 3, "model": {"rnn_size": 12, "conv": {"channels": [4], "kernels": [[5, 3]], "strides": [[2, 2]]}}}
    config = from_dict(TrainConfig, raw, "x")
    assert config.model.conv.kernels == ((5, 3),) and config.model.num_rnn_layers == TrainConfig().model.num_rnn_layers
    assert from_dict(TrainConfig, to_dict(config), "x") == config


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"model": {"rnnsize": 5}}, "c.yaml: model: unknown key 'rnnsize'; did you mean 'rnn_size'?"),
        ({"sed": 5}, "did you mean 'seed'?"),
        ({"model": {"rnn_size": "wide"}}, "model.rnn_size"),
        ({"optimiser": {"kind": "adagrad"}}, "optimiser.kind"),
        ({"model": {"conv": {"channels": [1]}}}, "one entry a layer"),
    ],
)
def test_what_is_wrong_is_named(raw, message):
    with pytest.raises(ConfigError, match=message.replace("?", "\\?")):
        from_dict(TrainConfig, raw, "c.yaml")


def test_a_recipe_needs_its_splits():
    with pytest.raises(ConfigError, match="splits"):
        from_dict(RecipeConfig, {"title": "t"}, "recipe.yaml")


@pytest.mark.parametrize("path", CONFS, ids=str)
def test_every_training_configuration_is_valid(path):
    training(path.stem, [], path.parent)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "just words"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="c.yaml"):
        read_yaml(path)


def test_overrides_reach_into_sections():
    raw = override({"model": {"rnn_size": 1, "clip": 20.0}}, ["model.rnn_size=7", "precision=bf16"])
    assert raw == {"model": {"rnn_size": 7, "clip": 20.0}, "precision": "bf16"}
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        override({}, ["model.rnn_size"])


TREES = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)


@given(st.dictionaries(st.sampled_from("abc"), TREES), st.dictionaries(st.sampled_from("abc"), TREES))
def test_merge_keeps_what_the_upper_does_not_name(base, over):
    merged = merge(base, over)
    assert set(merged) == set(base) | set(over)
    assert merge(merged, over) == merged
    assert all(merged[key] == base[key] for key in set(base) - set(over))
