"""The order of utterances: SortaGrad first, then shuffled batches, nothing lost, budgets kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.data.order import epoch_batches

DURATIONS = st.lists(st.floats(0.1, 35.0), min_size=1, max_size=200)


@given(DURATIONS, st.floats(1.0, 200.0), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_every_utterance_once_and_the_budget_kept(durations, budget_s, epoch, seed, sortagrad):
    batches = epoch_batches(durations, budget_s, epoch, seed, sortagrad)
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(durations[i] for i in batch) <= budget_s


@given(DURATIONS, st.floats(1.0, 200.0))
def test_epoch_one_goes_from_short_to_long(durations, budget_s):
    longest = [max(durations[i] for i in batch) for batch in epoch_batches(durations, budget_s, 1, seed=0)]
    assert longest == sorted(longest)


def test_later_epochs_are_shuffled_and_differ_but_repeat_by_seed():
    durations = np.random.default_rng(0).uniform(1, 20, 500)
    second, third = (epoch_batches(durations, 60, epoch, seed=1) for epoch in (2, 3))
    assert second != third and second == epoch_batches(durations, 60, 2, seed=1)
    longest = [durations[batch].max() for batch in second]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3
    assert {frozenset(batch) for batch in second} != {frozenset(batch) for batch in third}


def test_without_sortagrad_epoch_one_is_shuffled_too():
    durations = np.random.default_rng(0).uniform(1, 20, 500)
    longest = [durations[batch].max() for batch in epoch_batches(durations, 60, 1, seed=1, sortagrad=False)]
    assert longest != sorted(longest)


def padding_share(batches: list[list[int]], durations_s: np.ndarray) -> float:
    """The share of padded audio in these batches."""
    padded = sum(durations_s[batch].max() * len(batch) for batch in batches)
    return 1.0 - durations_s.sum() / padded


def test_padding_stays_small():
    durations = np.random.default_rng(0).gamma(6.0, 2.0, 5000)
    assert padding_share(epoch_batches(durations, 120, 1, seed=0), durations) < 0.02
    assert padding_share(epoch_batches(durations, 120, 2, seed=0), durations) < 0.06


def test_no_utterances_is_an_error():
    with pytest.raises(ValueError, match="no utterances"):
        epoch_batches([], 10, 1, 0)
