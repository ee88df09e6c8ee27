"""Tests of the loss."""

import pytest
import torch
from torch import Tensor

from new_loss import NewLoss


def sample_similarities(anchors: int = 6, candidates: int = 20) -> Tensor:
    """Sample similarities of the student (B, 1 + M), the positive first."""
    generator = torch.Generator().manual_seed(0)
    shape = (anchors, 1 + candidates)
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1


def one_hot_weights(student: Tensor) -> Tensor:
    """Create weights (B, 1 + M) with all weight on the positive."""
    weights = torch.zeros_like(student)
    weights[:, 0] = 1
    return weights


def create_loss(**settings: float) -> NewLoss:
    config = NewLoss.Config(**settings)
    return NewLoss(config)


def test_each_anchor_has_a_finite_loss() -> None:
    student = sample_similarities().float()
    loss = create_loss()(student, one_hot_weights(student))
    assert loss.shape == (6,)
    assert loss.isfinite().all()


def test_gradient_is_correct() -> None:
    student = sample_similarities(2, 4).requires_grad_()
    weights = torch.full_like(student, 1 / 5).detach()
    assert torch.autograd.gradcheck(lambda x: create_loss()(x, weights), student)


def test_loss_attracts_the_positive_and_repels_the_candidates() -> None:
    student = sample_similarities().requires_grad_()
    create_loss()(student, one_hot_weights(student)).sum().backward()
    assert student.grad is not None
    assert (student.grad[:, 0] < 0).all()
    assert (student.grad[:, 1:] > 0).all()


def test_order_of_candidates_does_not_matter() -> None:
    student = sample_similarities()
    weights = student.softmax(dim=1)
    order = 1 + torch.randperm(20, generator=torch.Generator().manual_seed(1))
    order = torch.cat([torch.zeros(1, dtype=torch.int64), order])
    shuffled = create_loss()(student[:, order], weights[:, order])
    torch.testing.assert_close(shuffled, create_loss()(student, weights))


def test_zero_temperature_is_an_error() -> None:
    with pytest.raises(ValueError, match="temperature"):
        create_loss(temperature=0)
