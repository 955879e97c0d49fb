"""One small product a step with the same matrix, hundreds of times over: packed once where oneDNN can."""

from math import inf

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

MIN_PACKED = {torch.float32: 2**18, torch.bfloat16: 2**14}  # numbers of a matrix from which on packing pays


def packs(a_GH: Tensor) -> bool:
    """Whether the matrix is large, and torch has oneDNN's packed products for its type on this processor."""
    onednn = torch.ops.mkldnn
    if not a_GH.is_cpu or a_GH.numel() < MIN_PACKED.get(a_GH.dtype, inf) or not hasattr(onednn, "_linear_pointwise"):
        return False
    return a_GH.dtype != torch.bfloat16 or onednn._is_mkldnn_bf16_supported()


def factor(a_GH: Tensor, num_utterances: int) -> Tensor:
    """The matrix as `add_product` takes it.

    A library that is handed a plain matrix rearranges it at every product; with a few utterances that costs as much
    as the product itself.
    """
    if not packs(a_GH):
        return a_GH.mT.contiguous()
    return torch.ops.mkldnn._reorder_linear_weight(a_GH.contiguous(), num_utterances)


def add_product(y_BG: Tensor, x_BH: Tensor, a: Tensor, out_BG: Tensor) -> Tensor:
    """Writes y + x A^T to out, which may be y, and returns it; a: of `factor`."""
    if a.is_mkldnn:
        return torch.add(y_BG, torch.ops.mkldnn._linear_pointwise(x_BH, a, None, "none", [], ""), out=out_BG)
    return torch.addmm(y_BG, x_BH, a, out=out_BG)


def linear(x_NH: Tensor, a_GH: Tensor, bias_G: Tensor | None) -> Tensor:
    """x A^T + bias, as torch's: float32 through oneDNN, a quarter faster than the library that torch takes for it."""
    if not packs(a_GH) or x_NH.dtype != torch.float32 or torch.is_autocast_enabled(x_NH.device.type):
        return F.linear(x_NH, a_GH, bias_G)
    return _Linear.apply(x_NH, a_GH, bias_G)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_NH, a_GH, bias_G):
        ctx.save_for_backward(x_NH, a_GH)
        return _packed_product(x_NH, a_GH, bias_G)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy_NG):
        x_NH, a_GH = ctx.saved_tensors
        needs_x, _, needs_bias = ctx.needs_input_grad
        flat_NG = dy_NG.flatten(0, -2)
        return (
            _packed_product(dy_NG, a_GH.mT, None) if needs_x else None,
            flat_NG.mT @ x_NH.flatten(0, -2),
            flat_NG.sum(0) if needs_bias else None,
        )


def _packed_product(x_NH: Tensor, a_GH: Tensor, bias_G: Tensor | None) -> Tensor:
    packed = torch.ops.mkldnn._reorder_linear_weight(a_GH.contiguous(), x_NH.numel() // x_NH.shape[-1])
    return torch.ops.mkldnn._linear_pointwise.default(x_NH.contiguous(), packed, bias_G, "none", [], "")
