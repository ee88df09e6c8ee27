"""Means, intervals and paired tests match calculations by hand and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslzoo.comparison.statistics import compare_pairs, estimate_mean, interval_factor


def test_interval_matches_calculation_by_hand() -> None:
    # mean 2, standard deviation 1, t(0.975, 2) = 4.3027, divided by sqrt(3)
    estimate = estimate_mean([1.0, 2.0, 3.0])
    assert estimate.mean == 2
    assert estimate.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert estimate.n == 3
    assert interval_factor(2) == pytest.approx(12.7062 / 2**0.5, rel=1e-4)


def test_one_value_has_no_interval() -> None:
    assert estimate_mean([3.5]).half_width is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=8))
def test_paired_differences_match_scipy(values: list[tuple[float, float]]) -> None:
    ours, theirs = ({seed: pair[i] for seed, pair in enumerate(values)} for i in (0, 1))
    difference = compare_pairs(ours, theirs)
    assert difference is not None
    differences = np.array([a - b for a, b in values])
    assert difference.mean == pytest.approx(differences.mean())
    if np.ptp(differences) > 1e-6:
        test = stats.ttest_rel(*np.array(values).T)
        assert difference.p == pytest.approx(test.pvalue)
        low, high = test.confidence_interval(0.95)
        assert difference.half_width == pytest.approx((high - low) / 2)
        assert difference.significant == (test.pvalue < 0.05)


def test_only_common_seeds_are_paired() -> None:
    difference = compare_pairs({0: 5.0, 1: 7.0, 9: 100.0}, {1: 4.0, 0: 4.0, 2: 0.0})
    assert difference is not None
    assert (difference.mean, difference.n) == (2.0, 2)
    assert compare_pairs({0: 1.0}, {1: 1.0}) is None


def test_p_is_none_if_all_differences_are_equal() -> None:
    one, same = compare_pairs({0: 2.0}, {0: 1.0}), compare_pairs({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0})
    assert one is not None
    assert same is not None
    assert (one.p, one.half_width, one.significant) == (None, None, False)
    assert (same.p, same.significant) == (None, False)
