"""Tests of the target."""

import pytest
import torch
from torch import Tensor

from new_target import NewTarget


def sample_inputs(anchors: int = 6, candidates: int = 20) -> tuple[Tensor, Tensor]:
    """Sample the teacher's similarities: positives (B,) and candidates (B, M)."""
    generator = torch.Generator().manual_seed(0)
    others = 2 * torch.rand(anchors, candidates, generator=generator) - 1
    return torch.ones(anchors), others


def create_target(**settings: float) -> NewTarget:
    config = NewTarget.Config(**settings)
    return NewTarget(config)


def test_weights_are_distributions_with_the_positive_first() -> None:
    weights, logs = create_target()(*sample_inputs())
    assert weights.shape == (6, 1 + 20)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))
    assert all(value.shape == () and value.isfinite() for value in logs.values())


def test_order_of_candidates_does_not_matter() -> None:
    positive, candidates = sample_inputs()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    weights = create_target()(positive, candidates).weights
    shuffled = create_target()(positive, candidates[:, order]).weights
    torch.testing.assert_close(shuffled[:, 1:], weights[:, 1:][:, order])


def test_weights_are_finite_at_extreme_similarities() -> None:
    candidates = torch.full((2, 9), -1.0)
    candidates[:, 0] = 1.0
    assert create_target()(torch.ones(2), candidates).weights.isfinite().all()


def test_more_similar_candidate_gets_more_weight() -> None:
    weights = create_target()(torch.ones(1), torch.tensor([[-0.5, 0.0, 0.5]])).weights
    assert weights[0, 1] < weights[0, 2] < weights[0, 3]


def test_zero_share_gives_one_hot_weights() -> None:
    weights = create_target(share=0)(*sample_inputs()).weights
    assert torch.equal(weights[:, 0], torch.ones(6))
    assert not weights[:, 1:].any()


def test_share_above_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="share"):
        create_target(share=1.5)
