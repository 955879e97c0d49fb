"""Row convolution: a layer above unidirectional recurrent layers that sees a few future frames (DS2, section 3.7)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowConvolution(nn.Module):
    """r_{t,i} = sum of W_{i,j} h_{t+j-1,i} over j = 1..tau+1; past the end of an utterance h is zero."""

    def __init__(self, num_hidden: int, num_future: int):
        super().__init__()
        self.weight_HJ = nn.Parameter(torch.zeros(num_hidden, num_future + 1))
        nn.init.ones_(self.weight_HJ[:, :1])  # starts as if it were not there

    def forward(self, hidden_SBH: Tensor) -> Tensor:
        """hidden_SBH: zero in padded frames. Returns the same shape, zero in padded frames."""
        num_hidden, num_window = self.weight_HJ.shape
        ahead_BHS = F.pad(hidden_SBH.permute(1, 2, 0), (0, num_window - 1))
        return F.conv1d(ahead_BHS, self.weight_HJ.unsqueeze(1), groups=num_hidden).permute(2, 0, 1)
