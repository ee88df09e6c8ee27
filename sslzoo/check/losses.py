"""Checks of a loss on its own."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.battery import require
from sslzoo.losses import Loss

ANCHORS, CANDIDATES, WIDTH = 6, 40, 16


def case(loss: Loss, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Similarities (B, 1 + M) that take a gradient, and weights of the kind that the loss knows."""
    generator = torch.Generator().manual_seed(seed)
    query, keys = (F.normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in (ANCHORS, 1 + CANDIDATES))
    weights = torch.rand(ANCHORS, 1 + CANDIDATES, generator=generator)
    if not loss.soft:
        weights[:, 1:] = 0
    if not loss.positive:
        weights[:, 0] = 0
    return (query @ keys.T).requires_grad_(), weights / weights.sum(dim=1, keepdim=True)


def gradient(loss: Loss, student: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each anchor (B,), and the gradient of their mean, (B, 1 + M)."""
    losses = loss(student, weights)
    (slope,) = torch.autograd.grad(losses.mean(), student)
    return losses.detach(), slope


def check_form(loss: Loss) -> None:
    """(B,) finite losses with a gradient that is not zero."""
    losses, slope = gradient(loss, *case(loss))
    require(losses.shape == (ANCHORS,), f"losses have shape {tuple(losses.shape)}, not (B,)")
    require(losses.isfinite().all() and slope.isfinite().all(), "a loss or a gradient is NaN or Inf")
    require(slope.abs().sum() > 0, "the gradient is zero")
    if not loss.positive:
        require((slope[:, 0] == 0).all(), "positive is False, and the positive's similarity gets a gradient")


def check_direction_of_gradient(loss: Loss) -> None:
    """The loss falls where the similarity of the pair that has all weight grows."""
    student, weights = case(loss)
    alone = torch.zeros_like(weights)
    chosen = 0 if loss.positive else 1
    alone[:, chosen] = 1
    slope = gradient(loss, student, alone)[1]
    require((slope[:, chosen] < 0).all(), "the loss does not fall where the similarity of the only match grows")
    others = slope[:, chosen + 1 :]
    if loss.repels:
        require((others.sum(dim=1) >= 0).all(), "the loss falls where the similarities of pairs without weight grow")
        require(others.sum() > 0, "repels is True, and pairs without weight get no gradient")
    else:
        require((others == 0).all(), "repels is False, and pairs without weight get a gradient")


def check_extremes(loss: Loss) -> None:
    """Finite losses and gradients where all similarities are equal, or -1 and 1."""
    weights = case(loss)[1]
    first = torch.full((ANCHORS, 1 + CANDIDATES), -1.0)
    first[:, 0] = 1
    cases = {
        "all similarities 1": torch.ones_like(first),
        "all similarities -1": -torch.ones_like(first),
        "the positive 1, the others -1": first,
        "the positive -1, the others 1": -first,
    }
    for name, student in cases.items():
        losses, slope = gradient(loss, student.requires_grad_(), weights)
        require(losses.isfinite().all(), f"a loss is NaN or Inf with {name}")
        require(slope.isfinite().all(), f"a gradient is NaN or Inf with {name}")


def check_half_precision(loss: Loss) -> None:
    """Float32 and finite under autocast."""
    student, weights = case(loss)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            losses, slope = gradient(loss, student, weights)
        require(losses.dtype == torch.float32, f"losses are {losses.dtype} under {dtype} autocast")
        require(losses.isfinite().all() and slope.isfinite().all(), f"a loss or gradient is NaN or Inf under {dtype}")


def check_order_of_candidates(loss: Loss) -> None:
    """Candidates in another order, with their weights, have the same loss."""
    student, weights = case(loss)
    order = 1 + torch.randperm(CANDIDATES, generator=torch.Generator().manual_seed(1))
    order = torch.cat([torch.zeros(1, dtype=torch.int64), order])
    here, there = loss(student, weights), loss(student[:, order], weights[:, order])
    require(torch.allclose(here, there, atol=1e-5), "the order of the candidates changes the loss")


def check_order_of_anchors(loss: Loss) -> None:
    """Anchors in another order have the same losses in that order."""
    student, weights = case(loss)
    order = torch.randperm(ANCHORS, generator=torch.Generator().manual_seed(1))
    here, there = loss(student, weights)[order], loss(student[order], weights[order])
    require(torch.allclose(here, there, atol=1e-5), "losses do not follow their anchors")


def check_single_rows(loss: Loss) -> None:
    """Each anchor's loss is the same when it is scored alone, unless the class declares `couples_rows`."""
    if loss.couples_rows:
        return
    student, weights = case(loss)
    alone = torch.cat(
        [loss(row, weight) for row, weight in zip(torch.split(student, 1), torch.split(weights, 1), strict=True)]
    )
    require(
        torch.allclose(alone, loss(student, weights), atol=1e-5),
        "an anchor's loss depends on the other anchors; a loss that is computed so declares couples_rows = True",
    )


CHECKS: dict[str, Callable[[Loss], None]] = {
    "a loss for each anchor": check_form,
    "pulls what has weight": check_direction_of_gradient,
    "finite at extreme similarities (alone)": check_extremes,
    "float32 in bf16 and fp16": check_half_precision,
    "order of the candidates": check_order_of_candidates,
    "order of the anchors": check_order_of_anchors,
    "rows one by one": check_single_rows,
}
