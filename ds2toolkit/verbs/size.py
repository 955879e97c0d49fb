"""`ds2 size`: layers, parameters and operations of training configurations, for 161 bins and 29 outputs."""

from pathlib import Path

from tabulate import tabulate

from ds2toolkit.config import FeatureConfig, ModelConfig, TrainConfig
from ds2toolkit.data.features import num_bins
from ds2toolkit.errors import ConfigError
from ds2toolkit.model.size import flops_a_second, num_parameters, outline, solved
from ds2toolkit.recipe import PACKAGE_CONF, training
from ds2toolkit.text.vocabulary import Vocabulary

HEADERS = ("configuration", "layers", "width", "parameters, M", "output stride, ms", "GFLOP a second of audio")


def run(confs: list[str]) -> None:
    rows = [row(name, training(name, [])) for conf in confs for name in names(conf)]
    print(tabulate(rows, headers=HEADERS, floatfmt=("", "", "", ".2f", ".0f", ".2f"), disable_numparse=[0, 1]))


def names(conf: str) -> list[str]:
    """A name or a path as it is; one with a * is matched with the names of ds2toolkit's own configurations."""
    if "*" not in conf or Path(conf).is_file():
        return [conf]
    paths = sorted(path.relative_to(PACKAGE_CONF) for path in PACKAGE_CONF.glob(f"{conf}.yaml"))
    if not paths:
        raise ConfigError(f"no configuration of ds2toolkit's own matches {conf!r}; the paper's: ds2 size 'paper/*'")
    return [path.with_suffix("").as_posix() for path in paths]


def row(name: str, config: TrainConfig) -> tuple[str, str, int, float, float, float]:
    features = FeatureConfig()
    sizes = num_bins(features), len(Vocabulary.english_characters().tokens)
    network = solved(config.model, *sizes)
    model = outline(network, *sizes)
    return (
        name,
        layers(network),
        network.rnn_size,
        num_parameters(model) / 1e6,
        1000 * features.shift_s * model.time_stride,
        flops_a_second(model, 1 / features.shift_s) / 1e9,
    )


def layers(config: ModelConfig) -> str:
    """`3 conv 2d + 7 rnn + 1 dense`: from the bottom to the top, the output layer with the last."""
    recurrent = f"{config.num_rnn_layers} {config.cell}" + ("" if config.bidirectional else " forward")
    ahead = [f"lookahead {config.lookahead}"] if config.lookahead else []
    convolutions = f"{len(config.conv.channels)} conv {config.conv.kind}"
    return " + ".join([convolutions, recurrent, *ahead, f"{config.num_dense_layers} dense"])
