"""One small product a step with the same matrices, hundreds of times over: packed once where oneDNN can."""

from collections.abc import Callable

import torch
from torch import Tensor

MIN_PACKED = 2**18  # numbers of a matrix from which on packing pays


def packs(a_2GH: Tensor) -> bool:
    """Whether the matrices are large, and torch has oneDNN's packed products for their type on this processor."""
    onednn = torch.ops.mkldnn
    if a_2GH.device.type != "cpu" or a_2GH[0].numel() < MIN_PACKED or not hasattr(onednn, "_linear_pointwise"):
        return False
    return a_2GH.dtype == torch.float32 or a_2GH.dtype == torch.bfloat16 and onednn._is_mkldnn_bf16_supported()


def adder(a_2GH: Tensor, num_utterances: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of y_2BG and x_2BH that adds x A^T to y, in place, each direction with its own A, and returns y.

    A library that is handed a plain matrix rearranges it at every product; with a few utterances that costs as much
    as the product itself.
    """
    if not packs(a_2GH):
        a_t_2HG = a_2GH.mT.contiguous()
        return lambda y_2BG, x_2BH: y_2BG.baddbmm_(x_2BH, a_t_2HG)
    packed = [torch.ops.mkldnn._reorder_linear_weight(a_GH.contiguous(), num_utterances) for a_GH in a_2GH.unbind()]
    linear = torch.ops.mkldnn._linear_pointwise.default

    def add(y_2BG: Tensor, x_2BH: Tensor) -> Tensor:
        for y_BG, x_BH, a_GH in zip(y_2BG.unbind(), x_2BH.unbind(), packed):
            y_BG.add_(linear(x_BH, a_GH, None, "none", [], ""))
        return y_2BG

    return add
