"""Sequence-wise batch norm: statistics over all unpadded frames of the minibatch, all workers' (DS2, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ds2toolkit import workers
from ds2toolkit.config import ModelConfig

PIECE = 2**16  # numbers a thread takes at a time


def frame_mask(num_frames_B: Tensor, max_frames: int) -> Tensor:
    """True in unpadded frames: bool (B, max_frames).

    Raises ValueError unless every length is in 1..max_frames.
    """
    if num_frames_B.dim() != 1 or num_frames_B.is_floating_point():
        shape = tuple(num_frames_B.shape)
        raise ValueError(f"lengths must be a vector of integers, not {num_frames_B.dtype} {shape}")
    shortest, longest = (int(n) for n in num_frames_B.aminmax())
    if shortest < 1 or longest > max_frames:
        raise ValueError(f"lengths must lie in 1..{max_frames}, these lie in {shortest}..{longest}")
    return torch.arange(max_frames, device=num_frames_B.device) < num_frames_B[:, None]


def norm_for(config: ModelConfig, num_units: int) -> nn.Module:
    """The norm of a layer; without batch norm, what only keeps padded frames at zero."""
    return SequenceWiseNorm(num_units, config.batch_norm_momentum) if config.batch_norm else Mask()


class Mask(nn.Module):
    """Zero in padded frames, everything else as it comes."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.masked_fill(~mask, 0.0)


class SequenceWiseNorm(nn.Module):
    """Normalise each hidden unit over every unpadded frame, then scale and shift it (DS2, section 3.2).

    Training uses the minibatch's own mean and (biased) variance and moves the running ones towards them by
    `momentum`; evaluation uses the running ones. Where several workers train, the minibatch is that of all of them,
    and each must take every step. Statistics are float32, or float64 where the input is.
    """

    def __init__(self, num_units: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.gamma = nn.Parameter(torch.ones(num_units))
        self.beta = nn.Parameter(torch.zeros(num_units))
        self.register_buffer("running_mean", torch.zeros(num_units))
        self.register_buffer("running_var", torch.ones(num_units))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Returns the shape and type of x, zero in padded frames.

        x: (..., H), finite in padded frames; mask: bool (..., 1), True in unpadded frames, broadcast to x.
        """
        weight = mask.to(self.gamma.dtype).expand(*x.shape[:-1], 1).reshape(-1, 1)
        x_NH = x.reshape(-1, x.shape[-1])
        if self.training:
            count, mean, var = _moments(x_NH.detach(), weight)
            self._move_running(mean, var)
        else:
            count, mean, var = None, self.running_mean, self.running_var
        rstd = (var + self.eps).rsqrt()
        return _Normalise.apply(x_NH, weight, self.gamma, self.beta, mean, rstd, count).view(x.shape)

    @torch.no_grad()
    def _move_running(self, mean: Tensor, var: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)


@torch.no_grad()
def _moments(x_NH: Tensor, weight_N1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number of unpadded rows of all workers, their mean and variance."""
    with torch.autocast(x_NH.device.type, enabled=False):
        pieces, dtype = _pieces(x_NH, weight_N1), weight_N1.dtype
        sums_H = _total([weight.T @ x.to(dtype) for x, weight in pieces])
        totals = workers.pooled(torch.cat([sums_H, weight_N1.sum(0)]))
        mean, count = totals[:-1] / totals[-1], totals[-1]
        # Around the mean, not E[x^2] - E[x]^2, which loses every digit where the mean is large.
        squares_H = _total([weight.T @ (x.to(dtype) - mean).square_() for x, weight in pieces])
        return count, mean, workers.pooled(squares_H) / count


def _pieces(*x_NH: Tensor) -> list[tuple[Tensor, ...]]:
    """The same rows of each, as many at a time as stay in a processor's cache from one operation to the next."""
    if not x_NH[0].is_cpu:
        return [x_NH]
    num_rows = PIECE * torch.get_num_threads() // x_NH[0].shape[1] + 1
    return list(zip(*(x.split(num_rows) for x in x_NH)))


def _total(sums_1H: list[Tensor]) -> Tensor:
    return torch.cat(sums_1H).sum(0)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_NH, weight_N1, gamma, beta, mean, rstd, count):
        ctx.save_for_backward(x_NH, weight_N1, gamma, mean, rstd, count)
        y_NH, scale = torch.empty_like(x_NH), gamma * rstd
        shift = beta - mean * scale
        for x, weight, y in _pieces(x_NH, weight_N1, y_NH):
            y.copy_(torch.addcmul(shift, x.to(scale.dtype), scale).mul_(weight))
        return y_NH

    @staticmethod
    @once_differentiable
    def backward(ctx, dy_NH):
        x_NH, weight_N1, gamma, mean, rstd, count = ctx.saved_tensors
        dx_NH = torch.empty_like(x_NH)
        pieces = _pieces(x_NH, weight_N1, dy_NH, dx_NH)
        with torch.autocast(dy_NH.device.type, enabled=False):
            dbeta = _total([weight.T @ dy.to(gamma.dtype) for _, weight, dy, _ in pieces])
            dgamma = rstd * _total([weight.T @ (x - mean).mul_(dy) for x, weight, dy, _ in pieces])
            # In training the mean and the variance depend on x too, all workers' x.
            sums_2H = torch.stack([dbeta, dgamma])
            of_mean, of_var = workers.pooled(sums_2H) / count if count is not None else torch.zeros_like(sums_2H)
            for x, weight, dy, dx in pieces:
                through_var = (x - mean).mul_(rstd * of_var)
                dx.copy_(through_var.add_(of_mean).sub_(dy).mul_(gamma * rstd).mul_(-weight))
        return dx_NH, None, dgamma, dbeta, None, None, None
