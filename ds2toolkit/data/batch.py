"""Batch, the one bundle of tensors that the network is fed with, and how utterances become one.

Axes in tensor names: B batch, T input frames, F bins, S output frames, V vocabulary, U targets, H hidden.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lhotse.cut import Cut
from torch.utils.data import Dataset

from ds2toolkit.config import FeatureConfig, SpecAugmentConfig
from ds2toolkit.data.augment import spec_augment
from ds2toolkit.data.features import FeatureStats, normalise
from ds2toolkit.data.packed import Cuts
from ds2toolkit.data.store import computed, load_features
from ds2toolkit.text.vocabulary import Vocabulary

Noise = Callable[[Cut, int], np.ndarray | None]

NOISE = 1  # tells an utterance's seed of noise from that of its masks


def derived_seed(*numbers: int) -> int:
    """A seed from whole numbers, the same in every process."""
    return hash(numbers) & 0x7FFFFFFF


@dataclass(frozen=True)
class Utterance:
    """One utterance ready for the network. feats_TF: normalised float32; targets: token ids."""

    id: str
    feats_TF: torch.Tensor
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Padded utterances with their lengths, longest first: feats_BTF float32, the rest int64."""

    ids: tuple[str, ...]
    feats_BTF: torch.Tensor
    num_frames_B: torch.Tensor
    targets_BU: torch.Tensor
    num_targets_B: torch.Tensor

    @staticmethod
    def of(utterances: Sequence[Utterance]) -> "Batch":
        utterances = sorted(utterances, key=lambda one: -len(one.feats_TF))
        pad = torch.nn.utils.rnn.pad_sequence
        targets = [torch.tensor(one.targets, dtype=torch.int64) for one in utterances]
        return Batch(
            ids=tuple(one.id for one in utterances),
            feats_BTF=pad([one.feats_TF for one in utterances], batch_first=True),
            num_frames_B=torch.tensor([len(one.feats_TF) for one in utterances]),
            targets_BU=pad(targets, batch_first=True),
            num_targets_B=torch.tensor([len(one) for one in targets]),
        )


class Utterances(Dataset):
    """Cuts as utterances, by index; (index, seed) asks for one to train on, its noise and its masks drawn from the seed.

    Without a vocabulary the utterances have no targets, as in decoding, where any reference is welcome. Only texts to
    train on must spell in the vocabulary: a dev set is measured whatever it holds.
    """

    def __init__(
        self,
        cuts: Sequence[Cut],
        vocabulary: Vocabulary | None,
        features: FeatureConfig,
        stats: FeatureStats | None,
        masks: SpecAugmentConfig | None = None,
        noise: Noise | None = None,
    ):
        self.cuts, self.vocabulary = cuts, vocabulary
        self.features, self.stats, self.masks, self.noise = features, stats, masks, noise

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, key: int | tuple[int, int]) -> Utterance:
        index, seed = key if isinstance(key, tuple) else (key, None)
        cut = self.cuts[index]
        feats_TF = torch.from_numpy(normalise(self.load(cut, seed), self.features, self.stats))
        if seed is not None and self.masks is not None:
            feats_TF = spec_augment(feats_TF, self.masks, seed)
        return Utterance(cut.id, feats_TF.float(), self.targets(cut, training=seed is not None))

    def load(self, cut: Cut, seed: int | None) -> np.ndarray:
        """(T, F) features of the cut: of its noisy audio where noise is drawn for it, else stored ones where they are."""
        if seed is not None and self.noise is not None:
            samples_T = self.noise(cut, derived_seed(seed, NOISE))
            if samples_T is not None:
                return computed(cut, samples_T, self.features)
        return load_features(cut, self.features)

    def targets(self, cut: Cut, training: bool) -> tuple[int, ...]:
        if self.vocabulary is None:
            return ()
        encode = self.vocabulary.encode if training else self.vocabulary.encode_known
        return tuple(encode(cut.supervisions[0].text))

    @property
    def durations_s(self) -> np.ndarray:
        if isinstance(self.cuts, Cuts):
            return self.cuts.durations_s
        return np.array([cut.duration for cut in self.cuts])
