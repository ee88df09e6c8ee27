"""Accuracy, interval, top five, per-class accuracy and confusion of known predictions."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from sslzoo.evaluation.score import compute_score, confidence_interval, rank_top_classes

KNOWN = {"chosen": {"k": 3}, "choice_accuracy": 0.5, "seed": 0}


def create_ranking(best: list[int], classes: int) -> Tensor:
    """Create rankings with these best classes, followed by the others in order."""
    return torch.tensor([[c, *(other for other in range(classes) if other != c)][:5] for c in best])


def test_score_matches_calculation_by_hand() -> None:
    truth = torch.tensor([0, 0, 1, 2])
    score = compute_score([create_ranking([0, 1, 1, 0], 4), create_ranking([0, 0, 1, 2], 4)], truth, 4, **KNOWN)
    assert score.accuracy == pytest.approx((0.5 + 1.0) / 2)
    assert score.std == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert score.per_class == [pytest.approx(0.75), 1.0, 0.5, None]
    assert score.confusion.toarray().tolist() == [[3, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert score.top5 is None
    assert score.interval[0] <= score.accuracy <= score.interval[1]
    assert "confusion" not in json.loads(json.dumps(score.as_dict()))


def test_top_five_accuracy_of_seven_classes() -> None:
    truth = torch.tensor([6, 4, 0])
    score = compute_score([create_ranking([0, 0, 0], 7)], truth, 7, **KNOWN)  # each ranking is 0, 1, 2, 3, 4
    assert (score.accuracy, score.top5) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_confusion_of_many_classes_is_small() -> None:
    truth = torch.arange(20_000)
    score = compute_score([truth[:, None]], truth, 20_000, **KNOWN)
    assert score.confusion.nnz == 20_000
    assert score.per_class == [1.0] * 20_000


def test_ties_are_resolved_in_favor_of_the_first_class() -> None:
    scores = torch.tensor([[1.0, 3.0, 3.0, 0.0, 3.0, 2.0]])
    assert rank_top_classes(scores).tolist() == [[1, 2, 4, 5, 0]]


def test_interval_agrees_with_the_normal_approximation() -> None:
    values = np.repeat([1.0, 0.0], [300, 700])
    low, high = confidence_interval(values, seed=0)
    half = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert (low, high) == (pytest.approx(0.3 - half, abs=0.003), pytest.approx(0.3 + half, abs=0.003))
    assert confidence_interval(np.ones(50), seed=0) == (1.0, 1.0)
    assert confidence_interval(np.ones(1), seed=0) == (1.0, 1.0)
    assert confidence_interval(values, seed=0) == (low, high)
