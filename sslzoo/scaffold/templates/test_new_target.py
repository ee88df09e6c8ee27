"""Tests of the target."""

import pytest
import torch
from torch import Tensor

from new_target import NewTarget


def similarities(anchors: int = 6, candidates: int = 20) -> tuple[Tensor, Tensor]:
    """Random similarities of the teacher: (B,) of the positives and (B, M) of the candidates."""
    generator = torch.Generator().manual_seed(0)
    others = 2 * torch.rand(anchors, candidates, generator=generator) - 1
    return torch.ones(anchors), others


def make(**settings: float) -> NewTarget:
    config = NewTarget.Config(**settings)
    return NewTarget(config)


def test_weights_are_distributions_with_the_positive_first() -> None:
    weights, logs = make()(*similarities())
    assert weights.shape == (6, 1 + 20)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))
    assert all(value.shape == () and value.isfinite() for value in logs.values())


def test_order_of_the_candidates_does_not_matter() -> None:
    positive, candidates = similarities()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    weights = make()(positive, candidates).weights
    shuffled = make()(positive, candidates[:, order]).weights
    torch.testing.assert_close(shuffled[:, 1:], weights[:, 1:][:, order])


def test_extreme_similarities_stay_finite() -> None:
    candidates = torch.full((2, 9), -1.0)
    candidates[:, 0] = 1.0
    assert make()(torch.ones(2), candidates).weights.isfinite().all()


def test_a_more_similar_candidate_gets_more_weight() -> None:
    weights = make()(torch.ones(1), torch.tensor([[-0.5, 0.0, 0.5]])).weights
    assert weights[0, 1] < weights[0, 2] < weights[0, 3]


def test_no_share_leaves_the_positive_alone() -> None:
    weights = make(share=0)(*similarities()).weights
    assert torch.equal(weights[:, 0], torch.ones(6))
    assert not weights[:, 1:].any()


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        make(share=1.5)
