"""Batches and masks: lengths travel with padded tensors, and a seed draws the same masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ds2toolkit.config import FeatureConfig, SpecAugmentConfig
from ds2toolkit.data.augment import spec_augment
from ds2toolkit.data.batch import Batch, Utterance, Utterances
from ds2toolkit.data.features import FeatureStats, num_frames
from ds2toolkit.data.packed import Cuts
from ds2toolkit.data.store import compute_and_store, load_features
from ds2toolkit.text.vocabulary import UnknownCharacter, Vocabulary

FEATURES = FeatureConfig()
PLAIN = FeatureConfig(mean_variance="none")
STATS = FeatureStats(np.zeros(161, np.float32), np.ones(161, np.float32), 1)


def utterance(name: str, frames: int, targets: tuple[int, ...]) -> Utterance:
    return Utterance(name, torch.full((frames, 3), float(frames)), targets)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 6)), min_size=1, max_size=6))
def test_a_batch_holds_each_utterance_and_zeros(sizes):
    made = [utterance(str(i), frames, tuple(range(1, targets + 1))) for i, (frames, targets) in enumerate(sizes)]
    batch = Batch.of(made)
    assert sorted(batch.ids) == sorted(one.id for one in made)
    assert batch.num_frames_B.tolist() == sorted((frames for frames, _ in sizes), reverse=True)
    for row, name in enumerate(batch.ids):
        one, frames, count = made[int(name)], int(batch.num_frames_B[row]), int(batch.num_targets_B[row])
        assert torch.equal(batch.feats_BTF[row, :frames], one.feats_TF) and not batch.feats_BTF[row, frames:].any()
        assert tuple(batch.targets_BU[row, :count].tolist()) == one.targets and not batch.targets_BU[row, count:].any()


@given(st.integers(0, 3), st.integers(0, 30), st.integers(0, 3), st.floats(0, 1), st.integers(1, 80), st.integers(0, 99))
def test_masks_stay_within_their_limits_and_repeat_by_seed(bands, width, times, fraction, frames, seed):
    config = SpecAugmentConfig(bands, width, times, fraction)
    feats_TF = torch.ones(frames, 20)
    masked_TF = spec_augment(feats_TF, config, seed)
    assert torch.equal(masked_TF, spec_augment(feats_TF, config, seed)) and feats_TF.all()
    whole_bins = int((masked_TF == 0).all(0).sum())
    whole_frames = int((masked_TF == 0).all(1).sum())
    if whole_frames < frames and whole_bins < 20:
        assert whole_bins <= bands * min(width, 20) and whole_frames <= times * int(fraction * frames)


def test_masks_differ_by_seed():
    config, feats_TF = SpecAugmentConfig(2, 10, 2, 0.2), torch.ones(100, 161)
    masked = [spec_augment(feats_TF, config, seed) for seed in range(5)]
    assert len({tuple(one.flatten().tolist()) for one in masked}) == 5


def test_an_utterance_is_normalised_and_spelled(tone_cuts):
    stats = FeatureStats.of(load_features(cut, FEATURES) for cut in tone_cuts)
    utterances = Utterances(tone_cuts, Vocabulary.english_characters(), FEATURES, stats)
    frames_TF = torch.cat([utterances[i].feats_TF for i in range(len(utterances))])
    assert frames_TF.mean(0).abs().max() < 1e-3
    assert (frames_TF.std(0) - 1).abs().max() < 1e-2
    cut = tone_cuts[3]
    assert len(utterances[3].feats_TF) == num_frames(cut.num_samples, FEATURES)
    assert Vocabulary.english_characters().decode(utterances[3].targets) == cut.supervisions[0].text


def test_only_training_is_masked(tone_cuts):
    masks = SpecAugmentConfig(num_frequency_masks=2, num_time_masks=2, time_mask_fraction=0.3)
    config = FeatureConfig(mean_variance="utterance")
    utterances = Utterances(tone_cuts, None, config, None, masks)
    plain, one, again, other = utterances[0], utterances[0, 1], utterances[0, 1], utterances[0, 2]
    assert torch.equal(one.feats_TF, again.feats_TF) and not torch.equal(one.feats_TF, other.feats_TF)
    assert (one.feats_TF == 0).sum() > (plain.feats_TF == 0).sum() and plain.targets == ()


def test_noise_is_laid_on_training_utterances_that_it_is_drawn_for(tone_cuts):
    seeds = []

    def noise(cut, seed):
        seeds.append(seed)
        return None if cut.id == "utt01" else cut.load_audio()[0] + 0.1 * np.sin(np.arange(cut.num_samples)).astype("f")

    utterances = Utterances(tone_cuts, None, PLAIN, None, noise=noise)
    assert not torch.equal(utterances[0, 7].feats_TF, utterances[0].feats_TF)
    assert torch.equal(utterances[1, 7].feats_TF, utterances[1].feats_TF)
    assert utterances[0, 8].feats_TF.shape == utterances[0].feats_TF.shape
    assert len(seeds) == 3 and seeds[0] == seeds[1] != seeds[2] and not {7, 8} & set(seeds)


def test_noise_replaces_stored_features(tone_cuts, tmp_path):
    stored = list(compute_and_store(tone_cuts[:2], PLAIN, tmp_path / "feats", num_jobs=1))
    noisy = Utterances(stored, None, PLAIN, None, noise=lambda cut, seed: cut.load_audio()[0])
    clean = Utterances(tone_cuts, None, PLAIN, None)
    assert torch.equal(noisy[0, 7].feats_TF, clean[0].feats_TF)
    assert not torch.equal(noisy[0].feats_TF, clean[0].feats_TF)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_see_the_same_utterances(tone_cuts, start):
    keys = [[(3, 1), (20, 2)], [(0, 3)]]
    masks = SpecAugmentConfig(num_time_masks=1, time_mask_fraction=0.3)
    utterances = Utterances(Cuts.of(tone_cuts), Vocabulary.english_characters(), PLAIN, None, masks)
    settings = {"num_workers": 1, "multiprocessing_context": start}
    for batch, some in zip(DataLoader(utterances, batch_sampler=keys, collate_fn=Batch.of, **settings), keys, strict=True):
        here = Batch.of([utterances[key] for key in some])
        assert batch.ids == here.ids and torch.equal(batch.feats_BTF, here.feats_BTF)
        assert torch.equal(batch.targets_BU, here.targets_BU)


def test_a_character_outside_the_vocabulary_is_named_in_training_and_left_out_elsewhere(tone_cuts):
    utterances = Utterances(tone_cuts, Vocabulary(("<blk>", "a", "b")), FEATURES, STATS)
    place = next(i for i, cut in enumerate(tone_cuts) if "c" in cut.supervisions[0].text)
    with pytest.raises(UnknownCharacter, match="'c'"):
        utterances[place, 0]
    known = tone_cuts[place].supervisions[0].text.replace("c", "")
    assert utterances[place].targets == tuple("_ab".index(letter) for letter in known)


def test_stored_features_are_the_computed_ones_and_shards_are_kept(tone_cuts, tmp_path):
    stored = list(compute_and_store(tone_cuts, FEATURES, tmp_path / "feats", num_jobs=1))
    assert [cut.id for cut in stored] == [cut.id for cut in tone_cuts]
    for cut, plain in zip(stored, tone_cuts, strict=True):
        computed, loaded = load_features(plain, FEATURES), load_features(cut, FEATURES)
        assert cut.has_features and loaded.shape == computed.shape
        assert abs(loaded - computed).max() < 0.3 and abs(loaded - computed).mean() < 0.05
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "feats").iterdir()}
    assert list(compute_and_store(tone_cuts, FEATURES, tmp_path / "feats", num_jobs=2)) == stored
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "feats").iterdir()} == before


def test_features_are_stored_at_each_speed(tone_cuts, tmp_path):
    cuts = Cuts.of(tone_cuts)
    stored = list(compute_and_store(cuts, FEATURES, tmp_path / "feats", num_jobs=1, speeds=(1.0, 0.5)))
    assert [cut.id for cut in stored] == [cut.id for cut in tone_cuts] + [f"{cut.id}_sp0.5" for cut in tone_cuts]
    slow, plain = stored[len(tone_cuts)], tone_cuts[0]
    assert slow.duration == 2 * plain.duration and len(slow.load_features()) == 2 * len(stored[0].load_features())
