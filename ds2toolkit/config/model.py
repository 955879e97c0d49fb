"""What a network is set by: convolutions, recurrent layers, norm, fully connected layers."""

from dataclasses import dataclass, field
from typing import Literal

from ds2toolkit.errors import ConfigError


@dataclass(frozen=True)
class ConvConfig:
    """Convolutions; the paper's 2-layer 2-D row by default.

    2d: over frequency x time, kernels and strides in pairs. 1d: over time, the bins as channels; one number each.
    """

    channels: tuple[int, ...] = (32, 32)
    kernels: tuple[int | tuple[int, int], ...] = ((41, 11), (21, 11))
    strides: tuple[int | tuple[int, int], ...] = ((2, 2), (2, 1))
    kind: Literal["1d", "2d"] = "2d"

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.strides) > 0:
            raise ConfigError("conv: channels, kernels and strides need one entry a layer each")
        wanted, example = (int, "11") if self.kind == "1d" else (tuple, "[41, 11]")
        for entry in (*self.kernels, *self.strides):
            if not isinstance(entry, wanted):
                raise ConfigError(f"conv: kernels and strides of kind {self.kind} are such as {example}, not {entry}")
        if any(size % 2 == 0 for kernel, _ in self.shapes for size in kernel):
            raise ConfigError(f"conv: kernel sizes must be odd (padding is 'same'), not {self.kernels}")

    @property
    def shapes(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Kernel and stride of each layer over frequency x time; in 1d no frequency is left to go over."""
        pairs = zip(self.kernels, self.strides)
        return [((1, kernel), (1, stride)) for kernel, stride in pairs] if self.kind == "1d" else list(pairs)


@dataclass(frozen=True)
class ModelConfig:
    """The network (section 3): convolutions, recurrent layers, fully connected layers, of which the last is the output.

    lookahead: the future frames tau that a row convolution above unidirectional layers sees; 0 for none.
    params: the number of parameters that rnn_size is chosen for, whatever it says.
    dropout: the share of values zeroed between recurrent layers and after the fully connected ones (not in the paper).
    """

    conv: ConvConfig = field(default_factory=ConvConfig)
    cell: Literal["rnn", "gru", "lstm"] = "rnn"
    bidirectional: bool = True
    lookahead: int = 0
    num_rnn_layers: int = 5
    num_dense_layers: int = 1
    rnn_size: int = 800
    params: float | None = None
    clip: float = 20.0
    batch_norm: bool = True
    batch_norm_momentum: float = 0.1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.lookahead and self.bidirectional:
            raise ConfigError("lookahead is for networks that don't hear the future: it needs bidirectional: false")
        if self.lookahead < 0 or self.num_rnn_layers < 1 or self.num_dense_layers < 1 or self.rnn_size < 1:
            raise ConfigError("num_rnn_layers, num_dense_layers and rnn_size are at least 1, lookahead at least 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout lies between 0 and 1, not at {self.dropout:g}")
