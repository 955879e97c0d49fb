"""The order of utterances: SortaGrad first, then shuffled batches, nothing lost, budgets kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.data.order import epoch_batches, shard
from ds2toolkit.errors import DataError

DURATIONS = st.lists(st.floats(0.1, 35.0), min_size=1, max_size=200)


@given(DURATIONS, st.floats(1.0, 200.0), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
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


@pytest.mark.parametrize("sortagrad", [False, 0, True, 1, 3])
def test_so_many_epochs_go_from_short_to_long_and_others_are_shuffled(sortagrad):
    durations = np.random.default_rng(0).uniform(1, 20, 500)
    for epoch in range(1, 5):
        longest = [durations[batch].max() for batch in epoch_batches(durations, 60, epoch, seed=1, sortagrad=sortagrad)]
        assert (longest == sorted(longest)) == (epoch <= sortagrad)


@given(DURATIONS, st.floats(1.0, 200.0), st.integers(1, 3), st.integers(1, 9))
def test_workers_share_every_utterance_and_none_goes_without(durations, budget_s, epoch, count):
    if len(durations) < count:
        with pytest.raises(DataError, match=f"{count} workers are too many for {len(durations)} utterances"):
            epoch_batches(durations, budget_s, epoch, 0, at_least=count)
        return
    batches = epoch_batches(durations, budget_s, epoch, 0, at_least=count)
    for batch in batches:
        shares = [shard(batch, rank, count) for rank in range(count)]
        assert sorted(i for share in shares for i in share) == sorted(batch)
        assert min(map(len, shares)) >= 1 and max(map(len, shares)) - min(map(len, shares)) <= 1
        # Above the budget only where it must be: fewer utterances would leave a worker without one.
        assert len(batch) < 2 * count or len(batch) * max(durations[i] for i in batch) <= budget_s
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))


@given(DURATIONS, st.integers(1, 3), st.integers(1, 9))
def test_batches_do_not_depend_on_the_number_of_workers_where_they_are_large_enough(durations, epoch, count):
    alone = epoch_batches(durations, 90, epoch, 0)
    if min(map(len, alone)) >= count:
        assert epoch_batches(durations, 90, epoch, 0, at_least=count) == alone


def test_shares_are_of_like_length():
    durations = np.random.default_rng(0).uniform(1, 20, 2000)
    for batch in epoch_batches(durations, 200, 2, seed=0, at_least=4):
        longest = [durations[shard(batch, rank, 4)].max() for rank in range(4)]
        assert min(longest) > 0.85 * max(longest)


def padding_share(batches: list[list[int]], durations_s: np.ndarray) -> float:
    """The share of padded audio in these batches."""
    padded = sum(durations_s[batch].max() * len(batch) for batch in batches)
    return 1.0 - durations_s.sum() / padded


@pytest.mark.parametrize("budget_s", [64, 120])
def test_padding_stays_small(budget_s):
    """On durations such as those of an hour or two of short commands, and of a corpus of long sentences."""
    rng = np.random.default_rng(0)
    for durations in (rng.gamma(4.0, 0.65, 2700) + 0.5, np.clip(rng.normal(12.3, 3.8, 20_000), 1.3, 17)):
        for count in (1, 2, 8):
            for epoch, most in ((1, 0.02), (2, 0.05), (3, 0.05)):
                batches = epoch_batches(durations, budget_s, epoch, seed=0, at_least=count)
                shares = [list(shard(batch, rank, count)) for batch in batches for rank in range(count)]
                assert padding_share(shares, durations) < most


def test_no_utterances_is_an_error():
    with pytest.raises(ValueError, match="no utterances"):
        epoch_batches([], 10, 1, 0)
