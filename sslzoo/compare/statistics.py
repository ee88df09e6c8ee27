"""What a few seeds allow to say: means with their confidence intervals, and paired differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
"""p below which a difference is printed bold."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    mean: float
    half_width: float | None
    """Of the 95 % confidence interval of the mean (Student's t, n - 1 degrees of freedom); None with one seed."""
    n: int


@dataclass(frozen=True)
class Difference(Estimate):
    """A mean difference over the seeds that two rows have in common."""

    p: float | None
    """Of the two-sided paired t-test; None with fewer than two seeds, or where all differences are the same."""

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05, not corrected for the number of comparisons."""
        return self.p is not None and self.p < SIGNIFICANT


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of at least one value."""
    n = len(values)
    half = interval_factor(n) * float(np.std(values, ddof=1)) if n > 1 else None
    return Estimate(float(np.mean(values)), half, n)


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """`values` minus `baseline`, by seed; None where they have no seed in common."""
    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return None
    ours, theirs = [values[seed] for seed in seeds], [baseline[seed] for seed in seeds]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    whole = estimate(differences)
    p = None
    if len(seeds) > 1 and not np.allclose(differences, differences[0], rtol=0, atol=1e-9):
        p = float(stats.ttest_rel(ours, theirs).pvalue)
    return Difference(whole.mean, whole.half_width, whole.n, p)


def interval_factor(n: int) -> float:
    """Half-width of the interval of a mean of n > 1 values, in standard deviations of a single value."""
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) / math.sqrt(n)
