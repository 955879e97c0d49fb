"""Fully connected layers below the output layer."""

from torch import Tensor, nn
from torch.nn import functional as F

from ds2toolkit.config import ModelConfig
from ds2toolkit.model.norm import frame_mask, norm_for


class DenseLayer(nn.Module):
    """h_t = f(B(W x_t)), or f(W x_t + b) without batch norm; f: the clipped ReLU (DS2, sections 3 and 3.2); dropout."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.clip = config.clip
        self.input = nn.Linear(config.rnn_size, config.rnn_size, bias=not config.batch_norm)
        self.norm = norm_for(config, config.rnn_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_SBH: Tensor, num_out_B: Tensor) -> Tensor:
        """x_SBH: finite in padded frames. Returns hidden_SBH, zero in padded frames."""
        mask_SB1 = frame_mask(num_out_B, len(x_SBH)).T[:, :, None].to(x_SBH.device, non_blocking=True)
        return self.dropout(F.hardtanh(self.norm(self.input(x_SBH), mask_SB1), 0.0, self.clip))
