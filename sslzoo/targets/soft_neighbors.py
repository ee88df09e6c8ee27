"""The target of SNCLR: neighbors are weighted by attention."""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from sslzoo.targets.adaptive import prepend_positive
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("soft-neighbors")
class SoftNeighbors(Target):
    """The positive has weight 1/2; its top-K neighbors share 1/2 by the softmax of their similarities.

    The paper calls this softmax the positiveness of the neighbors.
    """

    paper = "Ge et al., ICLR 2023 (OpenReview l9vM_PaUKz)"

    class Config(Target.Config):
        neighbors: PositiveInt = 30
        """K, the number of neighbors that get weight."""
        temperature: PositiveFloat = 1.0
        """Temperature of the softmax; the authors' code has none, which equals 1 for unit vectors."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M) from similarities (B,) and (B, M)."""
        top = candidates.topk(min(self.config.neighbors, candidates.shape[1]), dim=1)
        attention = (top.values / self.config.temperature).softmax(dim=1)
        return prepend_positive(torch.zeros_like(candidates).scatter(1, top.indices, attention))
