"""The targets of ASCL: similar candidates get weight that grows with the confidence of the teacher.

Source: Feng and Patras, "Adaptive Soft Contrastive Learning", ICPR 2022 (arXiv 2207.11163).
"""

import math

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.runtime.errors import UserError
from sslzoo.targets.base import TARGETS, Target, TargetOutput

PAPER = "Feng and Patras, ICPR 2022 (arXiv 2207.11163)"


def compute_relative_distribution(candidates: Tensor, temperature: float) -> Tensor:
    """Compute the softmax q (B, M) of the teacher's similarities over the candidates, without the positive.

    Args:
        candidates: (B, M) similarities.
        temperature: temperature of the softmax.
    """
    return F.softmax(candidates / temperature, dim=1)


def compute_confidence(distribution: Tensor) -> Tensor:
    """Compute the confidence c = 1 - H(q) / log M, (B,) in [0, 1]: 1 if q is one-hot, 0 if q is uniform.

    Args:
        distribution: q (B, M), rows sum to 1.

    Raises:
        UserError: there is only one candidate, so log M is 0.
    """
    if distribution.shape[1] < 2:
        raise UserError(
            "the target's confidence needs at least 2 candidates and has 1; enlarge --method.queue-size or --batch-size"
        )
    entropy: Tensor = -torch.special.xlogy(distribution, distribution).sum(dim=1)
    return (1 - entropy / math.log(distribution.shape[1])).clamp(0, 1)


def prepend_positive(extra: Tensor, **logs: Tensor) -> TargetOutput:
    """Prepend the positive with weight 1 to the weights of the candidates, and normalize each row to sum 1.

    Args:
        extra: (B, M) weights of the candidates, non-negative.
        logs: (B,) values whose means are logged by name.

    Returns:
        Weights (B, 1 + M); also logs `extra_mass`, the sum of a row of `extra`, and `positive_weight`.
    """
    weights = torch.cat([torch.ones_like(extra[:, :1]), extra], dim=1)
    weights = weights / weights.sum(dim=1, keepdim=True)
    logs |= {"extra_mass": extra.sum(dim=1), "positive_weight": weights[:, 0]}
    return TargetOutput(weights, {name: value.mean() for name, value in logs.items()})


def mark_nearest(candidates: Tensor, neighbors: int) -> Tensor:
    """Mark the K most similar candidates of each row: (B, M), 1 for these and 0 for the others.

    Args:
        candidates: (B, M) similarities.
        neighbors: K; all candidates are marked if K is larger than M.
    """
    top = candidates.topk(min(neighbors, candidates.shape[1]), dim=1).indices
    return torch.zeros_like(candidates).scatter_(1, top, 1.0)


@TARGETS.register("hard")
class Hard(Target):
    """The positive and its top-K neighbors have equal weights."""

    paper = PAPER

    class Config(Target.Config):
        neighbors: NonNegativeInt = 1
        """K, the number of neighbors that count as positives."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M) from similarities (B,) and (B, M)."""
        return prepend_positive(mark_nearest(candidates, self.config.neighbors))


@TARGETS.register("adaptive-hard")
class AdaptiveHard(Target):
    """The positive has weight 1, and each of its top-K neighbors the teacher's confidence c, before normalization."""

    paper = PAPER

    class Config(Hard.Config):
        temperature: PositiveFloat = 0.05
        """t', the temperature of the teacher's softmax, which determines the confidence."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M) from similarities (B,) and (B, M)."""
        c = compute_confidence(compute_relative_distribution(candidates, self.config.temperature))
        return prepend_positive(c[:, None] * mark_nearest(candidates, self.config.neighbors), confidence=c)


@TARGETS.register("adaptive-soft")
class AdaptiveSoft(Target):
    """ASCL: candidate j has weight min(1, c K q_j), with the teacher's softmax q and its confidence c."""

    paper = PAPER

    class Config(Target.Config):
        neighbors: NonNegativeFloat = Field(1.0)
        """K, the expected number of neighbors, not necessarily an integer; 0 gives MoCo."""
        temperature: PositiveFloat = 0.05
        """t', the temperature of the teacher's softmax."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M) from similarities (B,) and (B, M)."""
        q = compute_relative_distribution(candidates, self.config.temperature)
        c = compute_confidence(q)
        return prepend_positive((c[:, None] * self.config.neighbors * q).clamp(max=1), confidence=c)
