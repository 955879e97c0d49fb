"""Masks on the features of training utterances."""

import torch

from ds2toolkit.config import SpecAugmentConfig


def spec_augment(feats_TF: torch.Tensor, config: SpecAugmentConfig, seed: int) -> torch.Tensor:
    """Zero random bands of bins and of frames (SpecAugment, Park et al., 2019, without warping).

    feats_TF: normalised, so that zero is the mean. The same seed draws the same masks.
    """
    generator = torch.Generator().manual_seed(seed)
    masked_TF = feats_TF.clone()
    num_frames, num_bins = feats_TF.shape
    for axis, num_masks, widest in (
        (1, config.num_frequency_masks, min(config.frequency_mask_bins, num_bins)),
        (0, config.num_time_masks, int(config.time_mask_fraction * num_frames)),
    ):
        for _ in range(num_masks):
            width = int(torch.randint(widest + 1, (), generator=generator))
            start = int(torch.randint(masked_TF.shape[axis] - width + 1, (), generator=generator))
            masked_TF.narrow(axis, start, width).zero_()
    return masked_TF
