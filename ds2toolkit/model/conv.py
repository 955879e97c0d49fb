"""The convolutions over time, or over frequency and time, that stand below the recurrent layers (DS2, section 3.5)."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from ds2toolkit.config import ModelConfig
from ds2toolkit.model.norm import frame_mask, norm_for


class ConvLayer(nn.Module):
    """Convolution padded "same", sequence-wise norm per channel, clipped ReLU; zero in padded frames."""

    def __init__(self, num_in: int, num_out: int, kernel: tuple[int, int], stride: tuple[int, int],
                 config: ModelConfig):
        super().__init__()
        padding = tuple(size // 2 for size in kernel)
        self.clip, self.time_stride = config.clip, stride[1]
        # No bias where there is a norm, which would take it away again.
        self.conv = nn.Conv2d(num_in, num_out, kernel, stride, padding, bias=not config.batch_norm)
        self.norm = norm_for(config, num_out)

    def num_out(self, num_frames_B: Tensor) -> Tensor:
        """Number of output frames for a number of input frames: rounded up."""
        return (num_frames_B + self.time_stride - 1) // self.time_stride

    def forward(self, x_BCFT: Tensor, num_frames_B: Tensor) -> tuple[Tensor, Tensor]:
        """x_BCFT: zero in padded frames (C channels, F bins). Returns the same, and the new lengths."""
        num_out_B = self.num_out(num_frames_B)
        x_BCFT = self.conv(x_BCFT)
        mask_BT = frame_mask(num_out_B, x_BCFT.shape[-1]).to(x_BCFT.device, non_blocking=True)
        x_BFTC = self.norm(x_BCFT.permute(0, 2, 3, 1), mask_BT[:, None, :, None])
        return F.hardtanh(x_BFTC, 0.0, self.clip).permute(0, 3, 1, 2), num_out_B


class ConvStack(nn.Module):
    """Convolution layers one on the other; one over time alone takes the bins as channels.

    `time_stride` (input frames an output frame stands for) and `out_size` (channels x bins) follow from the
    configuration.
    """

    def __init__(self, config: ModelConfig, num_bins: int):
        super().__init__()
        conv = config.conv
        # Channels and bins of the input, as the first layer sees them.
        num_channels, num_bins = (num_bins, 1) if conv.kind == "1d" else (1, num_bins)
        self.in_shape = num_channels, num_bins
        sizes = zip((num_channels, *conv.channels), conv.channels)
        self.layers = nn.ModuleList(ConvLayer(*size, *shape, config) for size, shape in zip(sizes, conv.shapes))
        self.time_stride = math.prod(layer.time_stride for layer in self.layers)
        for _, stride in conv.shapes:
            num_bins = math.ceil(num_bins / stride[0])
        self.out_size = num_bins * conv.channels[-1]

    def num_out(self, num_frames_B: Tensor) -> Tensor:
        """Number of output frames for a number of input frames."""
        for layer in self.layers:
            num_frames_B = layer.num_out(num_frames_B)
        return num_frames_B

    def forward(self, feats_BTF: Tensor, num_frames_B: Tensor) -> tuple[Tensor, Tensor]:
        """Returns hidden_SBD (D = out_size, zero in padded frames) and num_out_B.

        feats_BTF: any values in padded frames. Raises ValueError when a length is out of range or
        their number is not B.
        """
        if len(num_frames_B) != len(feats_BTF):
            raise ValueError(f"{len(num_frames_B)} lengths for {len(feats_BTF)} utterances")
        mask_BT = frame_mask(num_frames_B, feats_BTF.shape[1]).to(feats_BTF.device, non_blocking=True)
        x_BCFT = feats_BTF.masked_fill(~mask_BT[:, :, None], 0.0).transpose(1, 2).unflatten(1, self.in_shape)
        for layer in self.layers:
            x_BCFT, num_frames_B = layer(x_BCFT, num_frames_B)
        return x_BCFT.permute(3, 0, 2, 1).flatten(2), num_frames_B
