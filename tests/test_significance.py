"""How sure: intervals that hold the truth as often as they claim, differences that are not seen where there are none."""

import time

import numpy as np
import pytest

from ds2toolkit.score.significance import (
    MAX_GROUPS,
    MIN_SPEAKERS,
    differences,
    group,
    holm,
    rates,
    resample,
)

DRAWS = 2000
AT_ONCE = 250
CHANCE = 0.01  # two standard errors of a share of 5% in 2,000 draws
WORDS = 24  # of the longest utterance


def speakers(rng, num_speakers, spread, mean):
    """Rates of speakers (gamma, `spread` times the mean apart), and how many utterances each has, in each draw."""
    shape = spread**-2
    return rng.gamma(shape, mean / shape, (num_speakers, DRAWS)), rng.integers(8, 40, (num_speakers, DRAWS))


def spoken(rng, rate_SD, num_SD, num_models=1):
    """Words of each speaker in each draw, after the errors of each model in them.

    Utterances have 4 to 24 words, and some are harder than others, for all models.
    """
    refs, *errors = np.zeros((1 + num_models, *rate_SD.shape))
    for number in range(int(num_SD.max())):
        words = rng.integers(4, WORDS + 1, rate_SD.shape) * (num_SD > number)
        hard = np.minimum(rate_SD * rng.gamma(2, 0.5, rate_SD.shape), 1)
        for one in errors:
            one += rng.binomial(words, hard)
        refs += words
    return *errors, refs


def in_parts(function, errors, refs):
    weights = resample(len(errors))
    parts = [slice(first, first + AT_ONCE) for first in range(0, errors.shape[1], AT_ONCE)]
    return [one for part in parts for one in function(errors[:, part], refs[:, part], weights)]


@pytest.mark.parametrize(("num_speakers", "spread", "mean"), [(20, 0.4, 0.08), (40, 0.6, 0.08), (30, 0.6, 0.03)])
def test_intervals_hold_the_truth_in_93_to_97_of_100_draws(num_speakers, spread, mean):
    rng = np.random.default_rng(num_speakers)
    errors, refs = spoken(rng, *speakers(rng, num_speakers, spread, mean))
    found = in_parts(rates, errors, refs)
    assert all(one.low is not None for one in found)
    assert 0.93 <= np.mean([one.low <= mean <= one.high for one in found]) <= 0.97


@pytest.mark.parametrize("num_speakers", [8, 20, 40])
def test_equal_models_are_called_different_in_at_most_5_of_100_draws(num_speakers):
    rng = np.random.default_rng(num_speakers)
    first, second, refs = spoken(rng, *speakers(rng, num_speakers, 0.6, 0.08), num_models=2)
    found = in_parts(differences, second - first, refs)
    assert np.mean([one.p < 0.05 for one in found]) <= 0.05 + CHANCE
    assert np.mean([one.low > 0 or one.high < 0 for one in found if one.low is not None]) <= 0.05 + CHANCE


def test_models_with_few_differing_utterances_are_not_called_different_more_often():
    """Where two models decode almost everything alike, the test keeps to the careful side."""
    rng = np.random.default_rng(3)
    refs = rng.integers(100, 400, (20, DRAWS)).astype(float)
    extra = rng.binomial(1, 0.2, refs.shape) * rng.choice([-1.0, 1.0], refs.shape)
    found = in_parts(differences, extra, refs)
    assert np.mean([one.p < 0.05 for one in found]) <= 0.05 + CHANCE


def test_a_real_difference_is_found_and_its_interval_holds_it():
    rng = np.random.default_rng(4)
    _, refs = spoken(rng, *speakers(rng, 30, 0.5, 0.10))
    extra = rng.binomial(refs.astype(int), 0.02).astype(float)
    found = in_parts(differences, extra, refs)
    assert np.mean([one.p < 0.05 for one in found]) > 0.99
    assert 0.93 <= np.mean([one.low <= 0.02 <= one.high for one in found]) <= 0.97


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_holm_keeps_the_whole_table_at_5_of_100():
    """Ten true nulls, 4,000 tables: any at all is rejected in at most 5%."""
    p = np.random.default_rng(5).random((4000, 10))
    assert np.mean([min(holm(row.tolist())) < 0.05 for row in p]) <= 0.05 + CHANCE


def test_speakers_go_together_unless_they_are_few_or_unknown():
    six = group(["a", "b", "c", "d", "e", "a"])
    assert (six.over, six.num, six.index_N.tolist()) == ("speakers", 5, [0, 1, 2, 3, 4, 0])
    assert six.sums(np.arange(6.0)).tolist() == [5.0, 1.0, 2.0, 3.0, 4.0]
    assert group(["a", "b"] * 9).over == group(["unknown"] * 9).over == "utterances"
    partly = group([*"abcde", "unknown", "unknown", "a"])
    assert (partly.over, partly.num) == ("speakers", MIN_SPEAKERS + 2)  # each unknown one by himself


def test_many_groups_are_joined_evenly_and_always_alike():
    one, two = (group(["unknown"] * 10_000) for _ in range(2))
    assert (one.num, one.over) == (MAX_GROUPS, "utterances")
    assert (one.index_N == two.index_N).all()
    assert set(np.bincount(one.index_N).tolist()) == {10_000 // MAX_GROUPS}
    assert one.sums(np.ones(10_000)).sum() == 10_000


def test_joining_leaves_the_interval_as_wide():
    rng = np.random.default_rng(6)
    refs = rng.integers(4, 30, 1500).astype(float)
    errors = rng.binomial(refs.astype(int), 0.1).astype(float)
    groups = group(["unknown"] * 1500)
    (joined,) = rates(groups.sums(errors)[:, None], groups.sums(refs)[:, None], resample(groups.num))
    (apart,) = rates(errors[:, None], refs[:, None], resample(1500))
    assert joined.value == apart.value
    assert joined.high - joined.low == pytest.approx(apart.high - apart.low, rel=0.15)


def of(function, errors, refs):
    return function(np.array(errors, float)[:, None], np.array(refs, float)[:, None], resample(len(errors)))[0]


def test_no_interval_where_nothing_can_be_told():
    for errors, refs in (([1], [5]), ([0] * 9, [5] * 9), ([1] * 9, [5] * 9), ([3, *[0] * 30], [5] * 31), ([2, 1], [0, 0])):
        assert of(rates, errors, refs).low is None is of(rates, errors, refs).high
    assert of(rates, [0] * 9, [5] * 9).value == 0


def test_differences_without_spread():
    assert of(differences, [0] * 9, [5] * 9).p == 1.0
    assert of(differences, [1] * 9, [5] * 9).p == pytest.approx(2**-8)
    assert of(differences, [1], [5]).p == 1.0
    lone = of(differences, [7, *[0] * 30], [5] * 31)
    assert lone.p > 0.3 and lone.low is None


def test_an_interval_never_ends_below_zero_and_repeats():
    rng = np.random.default_rng(7)
    errors, refs = rng.binomial(20, 0.02, 12), [20] * 12
    one, two = of(rates, errors, refs), of(rates, errors, refs)
    assert one == two and 0 < one.low < one.value < one.high


def test_ten_thousand_utterances_in_well_under_a_second():
    rng = np.random.default_rng(8)
    refs = rng.integers(4, 30, 10_000).astype(float)
    both = [rng.binomial(refs.astype(int), rate).astype(float) for rate in (0.08, 0.1)]
    resample.cache_clear()
    started = time.process_time()
    groups = group(["unknown"] * 10_000)
    errors = np.stack([groups.sums(one) for one in both], axis=1)
    words = np.stack([groups.sums(refs)] * 2, axis=1)
    rates(errors, words, resample(groups.num))
    (found,) = differences(errors[:, 1:] - errors[:, :1], words[:, 1:], resample(groups.num))
    assert time.process_time() - started < 0.5
    assert found.p < 0.001
