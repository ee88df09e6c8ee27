"""Scores of classifiers on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:  # it takes a moment to import
    from scipy.sparse import csr_array

BOOTSTRAP_RESAMPLES = 2000
TOP_K = 5
"""Number of best classes that are kept per test image."""


@dataclass(frozen=True)
class Score:
    """Result of one classifier."""

    accuracy: float
    """Accuracy on the test split, in [0, 1]; the mean over draws."""
    std: float | None
    """Standard deviation over draws; None for a single draw."""
    interval: tuple[float, float]
    """95 % confidence interval over test images for fixed classifiers (percentile bootstrap)."""
    top5: float | None
    """Share of test images whose class is among the best five; None with five classes or fewer."""
    per_class: list[float | None]
    """Accuracy of each class; None for a class without test images."""
    chosen: dict[str, float]
    """The setting that was chosen on the held-out part."""
    choice_accuracy: float | None
    """Accuracy on the held-out part with this setting; None if there was only one setting."""
    confusion: "csr_array"
    """(C, C) int64, number of test images by class (row) and predicted class (column), over all draws; sparse, because
    the matrix of 10,000 classes has 800 MB."""

    def as_dict(self) -> dict[str, Any]:
        """Return the score as JSON values, without the confusion matrix."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "confusion"}


@dataclass(frozen=True)
class Scores:
    """Results of an encoder, by classifier."""

    by_classifier: Mapping[str, Score]
    labels: int
    """Number of labeled images that each classifier learned from."""
    draws: int
    """Number of draws of labeled images."""

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        scores = {name: score.as_dict() for name, score in self.by_classifier.items()}
        return {**scores, "labels": self.labels, "draws": self.draws}


def rank_top_classes(scores: Tensor) -> Tensor:
    """Rank the best classes (..., min(5, C)) of scores (..., C), best first; the first class wins on ties."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :TOP_K]


def compute_score(
    rankings: Sequence[Tensor],
    truth: Tensor,
    classes: int,
    *,
    chosen: dict[str, float],
    choice_accuracy: float | None,
    seed: int,
) -> Score:
    """Compute the score of a classifier over draws of its labels.

    Args:
        rankings: (N, R) best classes of the test images, one tensor per draw.
        truth: (N,) labels of the test images.
        classes: number of classes.
        seed: seed of the bootstrap.
    """
    truth = truth.cpu()
    ranked = torch.stack([ranking.cpu() for ranking in rankings])
    correct = (ranked[:, :, 0] == truth).double()
    accuracies = correct.mean(dim=1)
    confusion = count_pairs(truth.expand(len(ranked), -1), ranked[:, :, 0], classes)
    totals, hits = confusion.sum(axis=1).tolist(), confusion.diagonal().tolist()
    return Score(
        accuracy=float(accuracies.mean()),
        std=float(accuracies.std()) if len(rankings) > 1 else None,
        interval=confidence_interval(correct.mean(dim=0).numpy(), seed),
        top5=float((ranked == truth[:, None]).any(dim=2).double().mean()) if classes > TOP_K else None,
        per_class=[hit / total if total else None for hit, total in zip(hits, totals, strict=True)],
        chosen=chosen,
        choice_accuracy=choice_accuracy,
        confusion=confusion,
    )


def count_pairs(truth: Tensor, predicted: Tensor, classes: int) -> "csr_array":
    """Count test images by class (row) and predicted class (column); both arguments have the same shape."""
    from scipy.sparse import coo_array

    places = (truth.flatten().numpy(), predicted.flatten().numpy())
    return coo_array((np.ones(truth.numel(), np.int64), places), shape=(classes, classes)).tocsr()


def confidence_interval(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the mean of values (N,).

    By the percentile bootstrap (Efron and Tibshirani 1993, chapter 13).
    """
    from scipy.stats import bootstrap  # takes a second to import

    if len(values) < 2:
        return float(values.mean()), float(values.mean())
    rng = np.random.default_rng(seed)
    result = bootstrap((values,), np.mean, n_resamples=BOOTSTRAP_RESAMPLES, batch=50, method="percentile", rng=rng)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
