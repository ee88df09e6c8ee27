"""Tests of the loss."""

import pytest
import torch
from torch import Tensor

from new_loss import NewLoss


def similarities(anchors: int = 6, candidates: int = 20) -> Tensor:
    """Random similarities of the student: (B, 1 + M), the positive first."""
    generator = torch.Generator().manual_seed(0)
    shape = (anchors, 1 + candidates)
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1


def positive_alone(student: Tensor) -> Tensor:
    """(B, 1 + M) one-hot weights."""
    weights = torch.zeros_like(student)
    weights[:, 0] = 1
    return weights


def make(**settings: float) -> NewLoss:
    config = NewLoss.Config(**settings)
    return NewLoss(config)


def test_each_anchor_has_a_finite_loss() -> None:
    student = similarities().float()
    loss = make()(student, positive_alone(student))
    assert loss.shape == (6,)
    assert loss.isfinite().all()


def test_the_gradient_is_that_of_the_loss() -> None:
    student = similarities(2, 4).requires_grad_()
    weights = torch.full_like(student, 1 / 5).detach()
    assert torch.autograd.gradcheck(lambda x: make()(x, weights), student)


def test_the_positive_is_pulled_and_the_candidates_are_pushed() -> None:
    student = similarities().requires_grad_()
    make()(student, positive_alone(student)).sum().backward()
    assert student.grad is not None
    assert (student.grad[:, 0] < 0).all()
    assert (student.grad[:, 1:] > 0).all()


def test_order_of_the_candidates_does_not_matter() -> None:
    student = similarities()
    weights = student.softmax(dim=1)
    order = 1 + torch.randperm(20, generator=torch.Generator().manual_seed(1))
    order = torch.cat([torch.zeros(1, dtype=torch.int64), order])
    shuffled = make()(student[:, order], weights[:, order])
    torch.testing.assert_close(shuffled, make()(student, weights))


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        make(temperature=0)
