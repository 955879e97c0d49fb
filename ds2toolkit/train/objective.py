"""What training brings down: the CTC loss of each utterance of a batch, in the run's precision."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ds2toolkit.data.batch import Batch
from ds2toolkit.model.ctc import ctc_loss


def losses(model: nn.Module, batch: Batch, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """Returns losses_B, log_probs_BSV and num_out_B, where the model is. In training it moves running statistics."""
    device = next(model.parameters()).device
    autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with autocast:
        log_probs_BSV, num_out_B = model(batch.feats_BTF.to(device, non_blocking=True), batch.num_frames_B)
    losses_B = ctc_loss(log_probs_BSV, num_out_B, batch.targets_BU, batch.num_targets_B)
    return losses_B, log_probs_BSV, num_out_B


def statistics(model: nn.Module) -> list[Tensor]:
    """A copy of the running statistics, from which `put_back` takes them."""
    return [buffer.clone() for buffer in model.buffers()]


def put_back(model: nn.Module, kept: list[Tensor]) -> None:
    for buffer, before in zip(model.buffers(), kept, strict=True):
        buffer.copy_(before)
