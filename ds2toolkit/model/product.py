"""One small product a step with the same matrix, hundreds of times over: packed once where oneDNN can."""

from collections.abc import Callable
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


def adder(a_GH: Tensor, num_utterances: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A function of y_BG, x_BH and out_BG that writes y + x A^T to out, which may be y, and returns it.

    A library that is handed a plain matrix rearranges it at every product; with a few utterances that costs as much
    as the product itself.
    """
    if not packs(a_GH):
        a_t_HG = a_GH.mT.contiguous()
        return lambda y_BG, x_BH, out_BG: torch.addmm(y_BG, x_BH, a_t_HG, out=out_BG)
    packed = torch.ops.mkldnn._reorder_linear_weight(a_GH.contiguous(), num_utterances)
    linear = torch.ops.mkldnn._linear_pointwise.default
    return lambda y_BG, x_BH, out_BG: torch.add(y_BG, linear(x_BH, packed, None, "none", [], ""), out=out_BG)


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
