"""The dev set: its loss and its greedy error rate."""

import math
from dataclasses import astuple

import torch
from torch.utils.data import DataLoader

from ds2toolkit import workers
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.data.batch import Batch, Utterances
from ds2toolkit.data.order import epoch_batches
from ds2toolkit.model.ctc import greedy
from ds2toolkit.score.align import ErrorCounts, count_errors
from ds2toolkit.train.objective import losses


@torch.no_grad()
def evaluate(recogniser: Recogniser, dev: Utterances, budget_s: float) -> tuple[float, ErrorCounts]:
    """Mean loss (of the utterances that can be aligned) and errors of the greedy path; budget_s: padded, of a batch.

    Workers share the batches, and all get the result.
    """
    model, precision = recogniser.model.eval(), recogniser.training.precision
    texts = {cut.id: cut.supervisions[0].text for cut in dev.cuts}
    finite, counts = [], ErrorCounts()
    batches = epoch_batches(dev.durations_s, budget_s, epoch=1, seed=0)[workers.rank() :: workers.count()]
    for batch in DataLoader(dev, batch_sampler=batches, collate_fn=Batch.of):
        losses_B, log_probs_BSV, num_out_B = losses(model, batch, precision)
        finite += losses_B[torch.isfinite(losses_B)].tolist()
        for name, ids in zip(batch.ids, greedy(log_probs_BSV, num_out_B), strict=True):
            counts += count_errors(texts[name], recogniser.vocabulary.decode(ids), recogniser.unit)
    model.train()
    sums = workers.pooled(torch.tensor([math.fsum(finite), len(finite), *astuple(counts)], dtype=torch.float64)).tolist()
    return sums[0] / sums[1] if sums[1] else math.inf, ErrorCounts(*map(int, sums[2:]))
