"""Checks of a target on its own."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.battery import require
from sslzoo.targets import Target

ANCHORS, CANDIDATES, WIDTH = 6, 40, 16


def similarities(seed: int = 0) -> tuple[Tensor, Tensor]:
    """The teacher's similarities of keys and positives (B,), and of keys and candidates (B, M)."""
    generator = torch.Generator().manual_seed(seed)
    key, queue = (F.normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in (ANCHORS, CANDIDATES))
    return (key * key).sum(dim=1), key @ queue.T


def check_form(target: Target) -> None:
    """(B, 1 + M) weights, no smaller than zero, each row's sum one; where they lie is what the class says."""
    positive, candidates = similarities()
    weights, logs = target(positive, candidates)
    require(weights.shape == (ANCHORS, 1 + CANDIDATES), f"weights have shape {tuple(weights.shape)}, not (B, 1 + M)")
    require((weights >= 0).all(), f"a weight is {weights.min():.3g}")
    require_sums(weights, "")
    if not target.positive:
        require((weights[:, 0] == 0).all(), "positive is False, and the positive has weight")
    if not target.soft:
        require((weights[:, 1:] == 0).all(), "soft is False, and candidates have weight")
    for name, value in logs.items():
        require(value.shape == (), f"the log {name} has shape {tuple(value.shape)}, not ()")


def check_extremes(target: Target) -> None:
    """Rows that sum to one where all similarities are equal, are -1 or 1, and where there are two candidates."""
    ones = torch.ones(ANCHORS)
    cases = {
        "all similarities 1": torch.ones(ANCHORS, CANDIDATES),
        "all similarities -1": -torch.ones(ANCHORS, CANDIDATES),
        "one similarity 1, the others -1": 2 * torch.eye(ANCHORS, CANDIDATES) - 1,
        "two candidates": similarities()[1][:, :2],
    }
    for case, candidates in cases.items():
        require_sums(target(ones, candidates).weights, f" with {case}")


def check_half_precision(target: Target) -> None:
    """Float32 weights under autocast."""
    positive, candidates = similarities()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            weights = target(positive, candidates).weights
        require(weights.dtype == torch.float32, f"weights are {weights.dtype} under {dtype} autocast")
        require_sums(weights, f" under {dtype} autocast")


def check_order_of_candidates(target: Target) -> None:
    """Candidates in another order have their weights in that order."""
    positive, candidates = similarities()
    order = torch.randperm(CANDIDATES, generator=torch.Generator().manual_seed(1))
    here, there = target(positive, candidates).weights, target(positive, candidates[:, order]).weights
    require(torch.allclose(here[:, 1:][:, order], there[:, 1:], atol=1e-5), "weights do not follow their candidates")


def check_order_of_anchors(target: Target) -> None:
    """Anchors in another order have their weights in that order: a row depends on its own anchor alone."""
    positive, candidates = similarities()
    order = torch.randperm(ANCHORS, generator=torch.Generator().manual_seed(1))
    here, there = target(positive, candidates).weights, target(positive[order], candidates[order]).weights
    require(torch.allclose(here[order], there, atol=1e-5), "an anchor's weights depend on the other anchors")


def check_single_rows(target: Target) -> None:
    """Each anchor has the same weights when it is scored alone."""
    positive, candidates = similarities()
    alone = [target(*row).weights for row in zip(torch.split(positive, 1), torch.split(candidates, 1), strict=True)]
    together = target(positive, candidates).weights
    require(torch.allclose(torch.cat(alone), together, atol=1e-5), "an anchor alone has other weights than in a batch")


CHECKS: dict[str, Callable[[Target], None]] = {
    "rows sum to one": check_form,
    "sums at extreme similarities": check_extremes,
    "sums in bf16 and fp16": check_half_precision,
    "order of the candidates": check_order_of_candidates,
    "order of the anchors": check_order_of_anchors,
    "rows one by one": check_single_rows,
}


def require_sums(weights: Tensor, where: str) -> None:
    """Rows are finite and sum to one.

    Raises:
        Fault: they are not.
    """
    require(weights.isfinite().all(), f"weights are NaN or Inf{where}")
    sums = weights.double().sum(dim=1)
    worst = sums[(sums - 1).abs().argmax()].item()
    require(abs(worst - 1) < 1e-4, f"a row sums to {worst:.6g}{where}")
