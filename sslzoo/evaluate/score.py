"""What a classifier reached on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RESAMPLES = 2000
TOP = 5
"""Ranks of a classifier's answer that are kept."""


@dataclass(frozen=True)
class Score:
    """Result of one classifier."""

    accuracy: float
    """On the test split, in [0, 1]; the mean over draws where there are several."""
    std: float | None
    """Standard deviation over draws."""
    interval: tuple[float, float]
    """95 % confidence interval over test images, the classifiers being what they are (percentile bootstrap)."""
    top5: float | None
    """Share of test images whose class is among the first five; None with five classes or fewer."""
    per_class: list[float | None]
    """Accuracy of each class; None for a class without test images."""
    chosen: dict[str, float]
    """The settings, chosen on the held-out part."""
    choice_accuracy: float | None
    """On the held-out part, with these settings; None where there was nothing to choose."""
    confusion: NDArray[np.int64]
    """(C, C) test images of each class (row) by the class that was answered (column), over all draws."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file, without the confusion matrix."""
        return {name: value for name, value in asdict(self).items() if name != "confusion"}


@dataclass(frozen=True)
class Scores:
    """Results of an encoder, by classifier."""

    by_classifier: Mapping[str, Score]
    labels: int
    """Labeled images that each classifier was given."""
    draws: int

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        scores = {name: score.as_dict() for name, score in self.by_classifier.items()}
        return {**scores, "labels": self.labels, "draws": self.draws}


def top_classes(scores: Tensor) -> Tensor:
    """(..., C) scores to the best classes (..., min(5, C)), best first; of equal ones the first class wins."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :TOP]


def score_of(
    rankings: Sequence[Tensor],
    truth: Tensor,
    classes: int,
    *,
    chosen: dict[str, float],
    choice_accuracy: float | None,
    seed: int,
) -> Score:
    """The result of classifiers that differ by the draw of their labels.

    Args:
        rankings: (N, R) best classes of the test images, one a draw.
        truth: (N,) labels.
        seed: of the bootstrap.
    """
    truth = truth.cpu()
    answers = torch.stack([ranking.cpu() for ranking in rankings])
    right = (answers[:, :, 0] == truth).double()
    accuracies = right.mean(dim=1)
    pairs = (truth * classes + answers[:, :, 0]).flatten()
    confusion = torch.bincount(pairs, minlength=classes * classes).view(classes, classes).numpy()
    return Score(
        accuracy=float(accuracies.mean()),
        std=float(accuracies.std()) if len(rankings) > 1 else None,
        interval=confidence_interval(right.mean(dim=0).numpy(), seed),
        top5=float((answers == truth[:, None]).any(dim=2).double().mean()) if classes > TOP else None,
        per_class=[int(row[c]) / int(row.sum()) if row.any() else None for c, row in enumerate(confusion)],
        chosen=chosen,
        choice_accuracy=choice_accuracy,
        confusion=confusion,
    )


def confidence_interval(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """95 % interval of the mean of values (N,), by the percentile bootstrap (Efron and Tibshirani 1993, chapter 13)."""
    from scipy.stats import bootstrap  # takes a second to import

    if len(values) < 2:
        return float(values.mean()), float(values.mean())
    rng = np.random.default_rng(seed)
    result = bootstrap((values,), np.mean, n_resamples=RESAMPLES, batch=50, method="percentile", rng=rng)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
