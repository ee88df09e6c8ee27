"""The targets of ASCL: neighbors of the key join the positive, the more so the surer the teacher is.

Feng and Patras, "Adaptive Soft Contrastive Learning", ICPR 2022 (arXiv 2207.11163).
"""

import math

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.targets.base import TARGETS, Target, TargetOutput

PAPER = "Feng and Patras, ICPR 2022 (arXiv 2207.11163)"


def relative_distribution(candidates: Tensor, temperature: float) -> Tensor:
    """q (B, M): softmax of the teacher's similarities over the candidates, the positive not among them."""
    return F.softmax(candidates / temperature, dim=1)


def confidence(distribution: Tensor) -> Tensor:
    """c (B,) in [0, 1]: 1 - H(q) / log M, one where q is one-hot and zero where it is uniform."""
    entropy: Tensor = -torch.special.xlogy(distribution, distribution).sum(dim=1)
    return (1 - entropy / math.log(distribution.shape[1])).clamp(0, 1)


def with_positive(extra: Tensor, **logs: Tensor) -> TargetOutput:
    """The positive with weight 1 before `extra` (B, M), each row divided by its sum."""
    weights = torch.cat([torch.ones_like(extra[:, :1]), extra], dim=1)
    weights = weights / weights.sum(dim=1, keepdim=True)
    logs |= {"extra_mass": extra.sum(dim=1), "positive_weight": weights[:, 0]}
    return TargetOutput(weights, {name: value.mean() for name, value in logs.items()})


def nearest(candidates: Tensor, neighbors: int) -> Tensor:
    """(B, M): 1 on each row's `neighbors` most similar candidates (all, when there are fewer), 0 elsewhere."""
    top = candidates.topk(min(neighbors, candidates.shape[1]), dim=1).indices
    return torch.zeros_like(candidates).scatter_(1, top, 1.0)


@TARGETS.register("hard")
class Hard(Target):
    """The positive and its top-K neighbors, all with weight 1 before normalizing."""

    paper = PAPER

    class Config(Target.Config):
        neighbors: NonNegativeInt = 1
        """K, the number of neighbors that count as positives."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M)."""
        return with_positive(nearest(candidates, self.config.neighbors))


@TARGETS.register("adaptive-hard")
class AdaptiveHard(Target):
    """The positive with weight 1 and its top-K neighbors with weight c, the confidence of the teacher."""

    paper = PAPER

    class Config(Hard.Config):
        temperature: PositiveFloat = 0.05
        """t', the teacher's temperature, from which the confidence comes."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M)."""
        c = confidence(relative_distribution(candidates, self.config.temperature))
        return with_positive(c[:, None] * nearest(candidates, self.config.neighbors), confidence=c)


@TARGETS.register("adaptive-soft")
class AdaptiveSoft(Target):
    """ASCL: every candidate j weighs min(1, c K q_j), with q the teacher's softmax and c its confidence."""

    paper = PAPER

    class Config(Target.Config):
        neighbors: NonNegativeFloat = Field(1.0)
        """K, the expected number of neighbors; need not be an integer, 0 is MoCo."""
        temperature: PositiveFloat = 0.05
        """t', the teacher's temperature."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M)."""
        q = relative_distribution(candidates, self.config.temperature)
        c = confidence(q)
        return with_positive((c[:, None] * self.config.neighbors * q).clamp(max=1), confidence=c)
