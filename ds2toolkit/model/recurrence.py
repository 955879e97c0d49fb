"""Recurrent layers: W shared by both directions, norm on W x alone, directions summed (DS2, sections 3.1 and 3.2)."""

from functools import partial

import torch
from torch import Tensor, nn

from ds2toolkit.config import ModelConfig
from ds2toolkit.model import cuda
from ds2toolkit.model.gru import GRU
from ds2toolkit.model.lstm import FORGET, LSTM
from ds2toolkit.model.norm import SequenceWiseNorm, frame_mask
from ds2toolkit.model.product import linear
from ds2toolkit.model.rnn import RNN

CELLS = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


class RecurrentLayer(nn.Module):
    """One recurrent layer: the cell runs over B(W x) (W x + b without batch norm), for all gates at once.

    Each U starts orthogonal, a gate at a time: a ReLU passes about half of the energy of its input, so with a unit
    gain the energy of what the ReLU is given settles at about twice that of the normalised W x, however long the
    utterance. An LSTM starts with its forget gates half open (a bias of 1).
    """

    def __init__(self, num_in: int, config: ModelConfig):
        super().__init__()
        self.cell, self.clip = config.cell, config.clip
        num_hidden, num_gates = config.rnn_size, CELLS[config.cell].num_gates
        self.input = nn.Linear(num_in, num_gates * num_hidden, bias=not config.batch_norm)
        # Without it no mask stands in its place, as convolutions need one: the cells see to padding themselves.
        momentum = config.batch_norm_momentum
        self.norm = SequenceWiseNorm(num_gates * num_hidden, momentum) if config.batch_norm else None
        # Checkpoints know it by this name, whatever the numbers of directions and gates: (directions, gates x H, H).
        num_ways = 2 if config.bidirectional else 1
        self.u_2HH = nn.Parameter(torch.empty(num_ways, num_gates * num_hidden, num_hidden))
        for u_HH in self.u_2HH.view(-1, num_hidden, num_hidden).unbind():
            nn.init.orthogonal_(u_HH)
        if config.cell == "lstm":
            bias_G = self.norm.beta if config.batch_norm else self.input.bias
            nn.init.ones_(bias_G.view(num_gates, num_hidden)[FORGET])

    def forward(self, x_SBD: Tensor, num_out_B: Tensor) -> Tensor:
        """x_SBD: finite in padded frames. Returns hidden_SBH, zero in padded frames."""
        wx_SBG = linear(x_SBD, self.input.weight, self.input.bias)
        if self.norm is not None:
            wx_SBG = self.norm(wx_SBG, _mask(num_out_B, wx_SBG))
        return recur(self.cell, wx_SBG, self.u_2HH, num_out_B, self.clip)


def recur(cell: str, wx_TBG: Tensor, u_2GH: Tensor, num_frames_B: Tensor, clip: float) -> Tensor:
    """The states of a cell in each direction, summed: hidden_TBH, zero in padding.

    u_2GH: the forward U, then (where there is one) the backward U, which starts at each utterance's own last frame;
    G: the cell's gates, one after the other, H each. wx_TBG: any finite values in padding, where its gradient is zero.
    States and products have the type of wx. Raises ValueError when a length is out of range.
    """
    recurrence = CELLS[cell].apply if wx_TBG.is_cpu else partial(cuda.recur, cell)
    mask_TB1 = _mask(num_frames_B, wx_TBG).to(wx_TBG.dtype)
    return recurrence(wx_TBG.contiguous(), u_2GH.to(wx_TBG.dtype), mask_TB1, clip)


def _mask(num_frames_B: Tensor, like_TBH: Tensor) -> Tensor:
    mask_BT = frame_mask(num_frames_B, len(like_TBH))
    return mask_BT.T[:, :, None].to(like_TBH.device, non_blocking=True)
