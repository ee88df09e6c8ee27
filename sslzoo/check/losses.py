"""Checks of a loss without a method."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.battery import require
from sslzoo.losses import Loss

ANCHORS, CANDIDATES, WIDTH = 6, 40, 16


def sample_inputs(loss: Loss, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Sample student similarities (B, 1 + M) that require a gradient, and weights (B, 1 + M) that the loss supports."""
    generator = torch.Generator().manual_seed(seed)
    query, keys = (F.normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in (ANCHORS, 1 + CANDIDATES))
    weights = torch.rand(ANCHORS, 1 + CANDIDATES, generator=generator)
    if not loss.soft:
        weights[:, 1:] = 0
    if not loss.positive:
        weights[:, 0] = 0
    return (query @ keys.T).requires_grad_(), weights / weights.sum(dim=1, keepdim=True)


def compute_gradient(loss: Loss, student: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the loss of each anchor (B,), and the gradient of their mean (B, 1 + M)."""
    losses = loss(student, weights)
    (gradient,) = torch.autograd.grad(losses.mean(), student)
    return losses.detach(), gradient


def check_output(loss: Loss) -> None:
    """Losses have shape (B,) and are finite; their gradient is finite and not zero."""
    losses, gradient = compute_gradient(loss, *sample_inputs(loss))
    require(losses.shape == (ANCHORS,), f"losses have shape {tuple(losses.shape)}, not (B,)")
    require(losses.isfinite().all() and gradient.isfinite().all(), "a loss or a gradient is NaN or Inf")
    require(gradient.abs().sum() > 0, "the gradient is zero")
    if not loss.positive:
        require((gradient[:, 0] == 0).all(), "positive is False, but the similarity of the positive gets a gradient")


def check_gradient_sign(loss: Loss) -> None:
    """The loss decreases when the similarity of the pair with all the weight increases; other pairs do not attract."""
    student, weights = sample_inputs(loss)
    one_hot = torch.zeros_like(weights)
    chosen = 0 if loss.positive else 1
    one_hot[:, chosen] = 1
    gradient = compute_gradient(loss, student, one_hot)[1]
    require(
        (gradient[:, chosen] < 0).all(), "the loss does not decrease when the similarity of the only match increases"
    )
    others = gradient[:, chosen + 1 :]
    if loss.repels:
        require((others.sum(dim=1) >= 0).all(), "the loss decreases when similarities of pairs without weight increase")
        require(others.sum() > 0, "repels is True, but pairs without weight get no gradient")
    else:
        require((others == 0).all(), "repels is False, but pairs without weight get a gradient")


def check_extreme_similarities(loss: Loss) -> None:
    """Losses and gradients are finite if all similarities are equal, and if they are -1 and 1."""
    weights = sample_inputs(loss)[1]
    first = torch.full((ANCHORS, 1 + CANDIDATES), -1.0)
    first[:, 0] = 1
    cases = {
        "all similarities 1": torch.ones_like(first),
        "all similarities -1": -torch.ones_like(first),
        "the positive 1, the others -1": first,
        "the positive -1, the others 1": -first,
    }
    for name, student in cases.items():
        losses, gradient = compute_gradient(loss, student.requires_grad_(), weights)
        require(losses.isfinite().all(), f"a loss is NaN or Inf with {name}")
        require(gradient.isfinite().all(), f"a gradient is NaN or Inf with {name}")


def check_half_precision(loss: Loss) -> None:
    """Losses are float32 and finite under autocast, gradients are finite."""
    student, weights = sample_inputs(loss)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            losses, gradient = compute_gradient(loss, student, weights)
        require(losses.dtype == torch.float32, f"losses are {losses.dtype} under {dtype} autocast")
        require(
            losses.isfinite().all() and gradient.isfinite().all(), f"a loss or gradient is NaN or Inf under {dtype}"
        )


def check_candidate_order(loss: Loss) -> None:
    """Permuting the candidates and their weights does not change the loss."""
    student, weights = sample_inputs(loss)
    order = 1 + torch.randperm(CANDIDATES, generator=torch.Generator().manual_seed(1))
    order = torch.cat([torch.zeros(1, dtype=torch.int64), order])
    original, permuted = loss(student, weights), loss(student[:, order], weights[:, order])
    require(torch.allclose(original, permuted, atol=1e-5), "the order of the candidates changes the loss")


def check_anchor_order(loss: Loss) -> None:
    """Permuting the anchors permutes the losses."""
    student, weights = sample_inputs(loss)
    order = torch.randperm(ANCHORS, generator=torch.Generator().manual_seed(1))
    original, permuted = loss(student, weights)[order], loss(student[order], weights[order])
    require(torch.allclose(original, permuted, atol=1e-5), "losses do not follow their anchors")


def check_single_rows(loss: Loss) -> None:
    """An anchor has the same loss alone as in a batch, unless the class declares `couples_rows`."""
    if loss.couples_rows:
        return
    student, weights = sample_inputs(loss)
    alone = torch.cat(
        [loss(row, weight) for row, weight in zip(torch.split(student, 1), torch.split(weights, 1), strict=True)]
    )
    require(
        torch.allclose(alone, loss(student, weights), atol=1e-5),
        "an anchor's loss depends on the other anchors; if intended, declare couples_rows = True",
    )


CHECKS: dict[str, Callable[[Loss], None]] = {
    "a loss for each anchor": check_output,
    "sign of the gradient": check_gradient_sign,
    "finite at extreme similarities (alone)": check_extreme_similarities,
    "float32 in bf16 and fp16": check_half_precision,
    "order of the candidates": check_candidate_order,
    "order of the anchors": check_anchor_order,
    "anchors one by one": check_single_rows,
}
