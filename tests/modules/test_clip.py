"""Gradient clipping against torch's own, and at its limits."""

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from sslzoo.modules.clip import ClipScope, clip_gradients


def parameters() -> list[nn.Parameter]:
    """Three parameters with gradients of different norms, and one without gradient."""
    generator = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), (2, 2), (6,))]
    for scale, parameter in zip((3.0, 0.01, 1.0), made, strict=False):
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return made


@pytest.mark.parametrize("max_norm", [0.1, 2.0])
def test_norm_over_all_parameters_is_clipped_as_in_torch(max_norm: float) -> None:
    ours, theirs = parameters(), parameters()
    norm = clip_gradients(ours, max_norm)
    torch.testing.assert_close(norm, clip_grad_norm_(theirs, max_norm))
    assert norm > max_norm
    for one, other in zip(ours[:3], theirs, strict=False):
        torch.testing.assert_close(one.grad, other.grad)
    assert ours[3].grad is None


def test_norm_of_each_parameter_is_clipped_by_itself() -> None:
    ours, theirs = parameters(), parameters()
    total = clip_gradients(ours, 0.5, "parameter")
    torch.testing.assert_close(total, torch.stack([p.grad.norm() for p in theirs[:3]]).norm())
    for parameter in theirs[:3]:
        clip_grad_norm_([parameter], 0.5)
    for one, other in zip(ours[:3], theirs, strict=False):
        torch.testing.assert_close(one.grad, other.grad)
    assert ours[0].grad.norm().item() == pytest.approx(0.5, abs=1e-5)
    assert torch.equal(ours[1].grad, parameters()[1].grad)  # shorter than the limit


@pytest.mark.parametrize("scope", ["all", "parameter"])
def test_gradients_below_the_limit_are_unchanged(scope: ClipScope) -> None:
    ours = parameters()
    clip_gradients(ours, 1e3, scope)
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(ours[:3], parameters(), strict=False))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_non_finite_gradient_gives_a_non_finite_norm(value: float) -> None:
    ours = parameters()
    ours[0].grad[0, 0] = value
    assert not clip_gradients(ours, 1.0).isfinite()


def test_parameters_without_gradients_have_norm_0() -> None:
    assert clip_gradients([nn.Parameter(torch.ones(2))], 1.0, "parameter").item() == 0
