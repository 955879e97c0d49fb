"""Deep Speech 2: convolutions, recurrent layers, fully connected layers (DS2, section 3)."""

import torch
from torch import Tensor, nn

from ds2toolkit.config import ModelConfig
from ds2toolkit.model.conv import ConvStack
from ds2toolkit.model.dense import DenseLayer
from ds2toolkit.model.lookahead import RowConvolution
from ds2toolkit.model.recurrence import RecurrentLayer


class DeepSpeech2(nn.Module):
    """Features in, log-probabilities of tokens out; padding never changes what an utterance gets.

    `time_stride` is the number of input frames an output frame stands for. A configuration that asks for a number of
    parameters goes through `size.solved` first.
    """

    def __init__(self, config: ModelConfig, num_bins: int, num_tokens: int):
        super().__init__()
        if config.params is not None:
            raise ValueError(f"params {config.params:g} has not been turned into a width")
        self.conv = ConvStack(config, num_bins)
        sizes = [self.conv.out_size] + [config.rnn_size] * (config.num_rnn_layers - 1)
        self.recurrent = nn.ModuleList(RecurrentLayer(size, config) for size in sizes)
        self.dropout = nn.Dropout(config.dropout)
        self.lookahead = RowConvolution(config.rnn_size, config.lookahead) if config.lookahead else None
        self.dense = nn.ModuleList(DenseLayer(config) for _ in range(config.num_dense_layers - 1))
        self.output = nn.Linear(config.rnn_size, num_tokens)
        self.time_stride = self.conv.time_stride

    def num_out(self, num_frames_B: Tensor) -> Tensor:
        """Number of output frames for a number of input frames."""
        return self.conv.num_out(num_frames_B)

    def forward(self, feats_BTF: Tensor, num_frames_B: Tensor) -> tuple[Tensor, Tensor]:
        """Returns log_probs_BSV (float32, under autocast too; float64 where the model is) and num_out_B.

        feats_BTF: any values in padded frames; num_frames_B: integers, 1 <= n <= T. Log-probabilities in
        padded frames mean nothing. Raises ValueError when a length is out of range.
        """
        hidden_SBH, num_out_B = self.conv(feats_BTF, num_frames_B)
        for number, layer in enumerate(self.recurrent):
            hidden_SBH = layer(self.dropout(hidden_SBH) if number else hidden_SBH, num_out_B)
        if self.lookahead is not None:
            hidden_SBH = self.lookahead(hidden_SBH)
        for layer in self.dense:
            hidden_SBH = layer(hidden_SBH, num_out_B)
        # Eight bits of mantissa are too few for a log-probability, and this layer costs next to nothing.
        with torch.autocast(feats_BTF.device.type, enabled=False):
            logits_BSV = self.output(hidden_SBH.transpose(0, 1).to(self.output.weight.dtype))
            return logits_BSV.log_softmax(-1), num_out_B
