"""Steps that are not finite: which utterances they come from, and what to do when they go on."""

from collections.abc import Sequence

import torch

from ds2toolkit import workers
from ds2toolkit.config import OptimiserConfig
from ds2toolkit.data.batch import Batch

MAX_BAD_STEPS = 20
MAX_NAMED = 5


def fault(batch: Batch, losses_B: torch.Tensor) -> str:
    """What is not finite, in words; of several workers the one with the gravest fault is heard, by all."""
    return min(workers.gathered(_own_fault(batch, losses_B)))[1]


def _own_fault(batch: Batch, losses_B: torch.Tensor) -> tuple[int, str]:
    """What is not finite, in words: features, which the norm hands to the whole batch; else losses; else the gradient."""
    bad_feats_B = ~torch.isfinite(batch.feats_BTF).flatten(1).all(1)
    bad_losses_B = ~torch.isfinite(losses_B).cpu()
    for grade, (what, bad_B) in enumerate((("features", bad_feats_B), ("loss", bad_losses_B))):
        if bad_B.any():
            return grade, f"{what} not finite: {_named([name for name, bad in zip(batch.ids, bad_B.tolist()) if bad])}"
    return 2, f"gradient not finite, of the batch {_named(batch.ids)}"


def advice(last: str, config: OptimiserConfig) -> str:
    """What the user reads when MAX_BAD_STEPS steps in a row were not finite; last: the fault of the last one."""
    warm_up = " and/or optimiser.warm_up_steps=1000" if config.schedule != "one_cycle" else ""
    return (
        f"{MAX_BAD_STEPS} steps in a row were not finite, the last: {last}\n"
        "Are the features finite? Then training has diverged: begin again more gently, "
        f"--restart --set optimiser.learning_rate={config.learning_rate / 3:.1g}{warm_up}"
    )


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return ", ".join(ids[:MAX_NAMED]) + more
