"""Checks of a target without a method."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.battery import require
from sslzoo.targets import Target

ANCHORS, CANDIDATES, WIDTH = 6, 40, 16


def sample_similarities(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Sample the teacher's similarities of keys with positives (B,), and with candidates (B, M)."""
    generator = torch.Generator().manual_seed(seed)
    key, queue = (F.normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in (ANCHORS, CANDIDATES))
    return (key * key).sum(dim=1), key @ queue.T


def check_weights(target: Target) -> None:
    """Weights are (B, 1 + M) and non-negative, rows sum to one, and `positive` and `soft` of the class are correct."""
    positive, candidates = sample_similarities()
    weights, logs = target(positive, candidates)
    require(weights.shape == (ANCHORS, 1 + CANDIDATES), f"weights have shape {tuple(weights.shape)}, not (B, 1 + M)")
    require((weights >= 0).all(), f"a weight is {weights.min():.3g}")
    require_sums(weights, "")
    if not target.positive:
        require((weights[:, 0] == 0).all(), "positive is False, but the positive has weight")
    if not target.soft:
        require((weights[:, 1:] == 0).all(), "soft is False, but candidates have weight")
    for name, value in logs.items():
        require(value.shape == (), f"the log {name} has shape {tuple(value.shape)}, not ()")


def check_extreme_similarities(target: Target) -> None:
    """Rows sum to one if all similarities are equal, if they are -1 or 1, and with two candidates."""
    ones = torch.ones(ANCHORS)
    cases = {
        "all similarities 1": torch.ones(ANCHORS, CANDIDATES),
        "all similarities -1": -torch.ones(ANCHORS, CANDIDATES),
        "one similarity 1, the others -1": 2 * torch.eye(ANCHORS, CANDIDATES) - 1,
        "two candidates": sample_similarities()[1][:, :2],
    }
    for case, candidates in cases.items():
        require_sums(target(ones, candidates).weights, f" with {case}")


def check_half_precision(target: Target) -> None:
    """Weights are float32 under autocast, and rows sum to one."""
    positive, candidates = sample_similarities()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            weights = target(positive, candidates).weights
        require(weights.dtype == torch.float32, f"weights are {weights.dtype} under {dtype} autocast")
        require_sums(weights, f" under {dtype} autocast")


def check_candidate_order(target: Target) -> None:
    """Permuting the candidates permutes their weights."""
    positive, candidates = sample_similarities()
    order = torch.randperm(CANDIDATES, generator=torch.Generator().manual_seed(1))
    original, permuted = target(positive, candidates).weights, target(positive, candidates[:, order]).weights
    require(
        torch.allclose(original[:, 1:][:, order], permuted[:, 1:], atol=1e-5), "weights do not follow their candidates"
    )


def check_anchor_order(target: Target) -> None:
    """Permuting the anchors permutes the rows: a row depends on its own anchor only."""
    positive, candidates = sample_similarities()
    order = torch.randperm(ANCHORS, generator=torch.Generator().manual_seed(1))
    original, permuted = target(positive, candidates).weights, target(positive[order], candidates[order]).weights
    require(torch.allclose(original[order], permuted, atol=1e-5), "an anchor's weights depend on the other anchors")


def check_single_rows(target: Target) -> None:
    """An anchor has the same weights alone as in a batch."""
    positive, candidates = sample_similarities()
    alone = [target(*row).weights for row in zip(torch.split(positive, 1), torch.split(candidates, 1), strict=True)]
    together = target(positive, candidates).weights
    require(torch.allclose(torch.cat(alone), together, atol=1e-5), "an anchor alone has other weights than in a batch")


CHECKS: dict[str, Callable[[Target], None]] = {
    "rows sum to one": check_weights,
    "sums at extreme similarities": check_extreme_similarities,
    "sums in bf16 and fp16": check_half_precision,
    "order of the candidates": check_candidate_order,
    "order of the anchors": check_anchor_order,
    "anchors one by one": check_single_rows,
}


def require_sums(weights: Tensor, where: str) -> None:
    """Require finite rows that sum to one.

    Raises:
        CheckError: a weight is NaN or Inf, or a row does not sum to one.
    """
    require(weights.isfinite().all(), f"weights are NaN or Inf{where}")
    sums = weights.double().sum(dim=1)
    worst = sums[(sums - 1).abs().argmax()].item()
    require(abs(worst - 1) < 1e-4, f"a row sums to {worst:.6g}{where}")
