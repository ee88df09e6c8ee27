"""Means, intervals and paired tests against numbers worked out by hand and by scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslzoo.compare.statistics import estimate, interval_factor, paired


def test_an_interval_by_hand() -> None:
    # mean 2, standard deviation 1, t(0.975, 2) = 4.3027, divided by sqrt(3)
    whole = estimate([1.0, 2.0, 3.0])
    assert whole.mean == 2
    assert whole.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert whole.n == 3
    assert interval_factor(2) == pytest.approx(12.7062 / 2**0.5, rel=1e-4)


def test_one_value_has_no_interval() -> None:
    assert estimate([3.5]).half_width is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=8))
def test_paired_differences_are_those_of_scipy(values: list[tuple[float, float]]) -> None:
    ours, theirs = ({seed: pair[i] for seed, pair in enumerate(values)} for i in (0, 1))
    found = paired(ours, theirs)
    assert found is not None
    differences = np.array([a - b for a, b in values])
    assert found.mean == pytest.approx(differences.mean())
    if np.ptp(differences) > 1e-6:
        test = stats.ttest_rel(*np.array(values).T)
        assert found.p == pytest.approx(test.pvalue)
        low, high = test.confidence_interval(0.95)
        assert found.half_width == pytest.approx((high - low) / 2)
        assert found.significant == (test.pvalue < 0.05)


def test_seeds_are_paired_by_number_and_only_common_ones_count() -> None:
    found = paired({0: 5.0, 1: 7.0, 9: 100.0}, {1: 4.0, 0: 4.0, 2: 0.0})
    assert found is not None
    assert (found.mean, found.n) == (2.0, 2)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_no_p_without_spread() -> None:
    one, same = paired({0: 2.0}, {0: 1.0}), paired({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0})
    assert one is not None
    assert same is not None
    assert (one.p, one.half_width, one.significant) == (None, None, False)
    assert (same.p, same.significant) == (None, False)
