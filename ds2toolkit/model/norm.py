"""Sequence-wise batch norm: statistics over all unpadded frames of the minibatch, all workers' (DS2, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ds2toolkit import workers
from ds2toolkit.config import ModelConfig


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
        x_NH = x_NH.to(weight_N1.dtype)
        totals = workers.pooled(torch.cat([(weight_N1.T @ x_NH).squeeze(0), weight_N1.sum(0)]))
        mean, count = totals[:-1] / totals[-1], totals[-1]
        # Around the mean, not E[x^2] - E[x]^2, which loses every digit where the mean is large.
        squares_NH = (x_NH - mean).square_()
        return count, mean, workers.pooled((weight_N1.T @ squares_NH).squeeze(0)) / count


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_NH, weight_N1, gamma, beta, mean, rstd, count):
        ctx.save_for_backward(x_NH, weight_N1, gamma, mean, rstd, count)
        scale = gamma * rstd
        y_NH = torch.addcmul(beta - mean * scale, x_NH.to(scale.dtype), scale)
        return y_NH.mul_(weight_N1).to(x_NH.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy_NH):
        x_NH, weight_N1, gamma, mean, rstd, count = ctx.saved_tensors
        with torch.autocast(dy_NH.device.type, enabled=False):
            xhat_NH = (x_NH.to(gamma.dtype) - mean).mul_(rstd)
            dy_masked_NH = dy_NH * weight_N1
            dbeta = dy_masked_NH.sum(0)
            dgamma = (xhat_NH * dy_masked_NH).sum(0)
            dx_NH = dy_masked_NH
            if count is not None:  # the mean and the variance depend on x too, all workers' x
                sums_2H = workers.pooled(torch.stack([dbeta, dgamma])) / count
                dx_NH = dx_NH.sub_(sums_2H[0]).sub_(xhat_NH.mul_(sums_2H[1]))
            dx_NH.mul_(gamma * rstd).mul_(weight_N1)
        return dx_NH.to(x_NH.dtype), None, dgamma, dbeta, None, None, None
