"""Means with confidence intervals, and paired differences, over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
"""p value below which a difference is significant and printed bold."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    mean: float
    half_width: float | None
    """Half-width of the 95 % interval of the mean (Student's t, n - 1 degrees of freedom); None for n = 1."""
    n: int


@dataclass(frozen=True)
class Difference(Estimate):
    """A mean difference over the seeds that two rows share."""

    p: float | None
    """p value of the two-sided paired t-test; None with fewer than two seeds or if all differences are equal."""

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05, not corrected for the number of comparisons."""
        return self.p is not None and self.p < SIGNIFICANT


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean and its interval from at least one value."""
    n = len(values)
    half = interval_factor(n) * float(np.std(values, ddof=1)) if n > 1 else None
    return Estimate(float(np.mean(values)), half, n)


def compare_pairs(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Compare `values` minus `baseline` by seed; None if they share no seed."""
    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return None
    ours, theirs = [values[seed] for seed in seeds], [baseline[seed] for seed in seeds]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = estimate_mean(differences)
    p = None
    if len(seeds) > 1 and not np.allclose(differences, differences[0], rtol=0, atol=1e-9):
        p = float(stats.ttest_rel(ours, theirs).pvalue)
    return Difference(mean.mean, mean.half_width, mean.n, p)


def interval_factor(n: int) -> float:
    """Half-width of the interval of a mean of n > 1 values, in standard deviations of one value."""
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) / math.sqrt(n)
