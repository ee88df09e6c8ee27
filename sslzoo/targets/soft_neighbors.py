"""The target of SNCLR: neighbors count as much as attention to them says."""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from sslzoo.targets.adaptive import with_positive
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("soft-neighbors")
class SoftNeighbors(Target):
    """The positive with weight 1; its top-K neighbors share another 1 by the softmax of their similarities.

    The softmax over the neighbors is what the paper calls their positiveness; rows are divided by 2.
    """

    paper = "Ge et al., ICLR 2023 (OpenReview l9vM_PaUKz)"

    class Config(Target.Config):
        neighbors: PositiveInt = 30
        """K, the number of neighbors that get weight."""
        temperature: PositiveFloat = 1.0
        """Temperature of the attention; the authors' code has none, which is 1 on unit vectors."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M)."""
        top = candidates.topk(min(self.config.neighbors, candidates.shape[1]), dim=1)
        attention = (top.values / self.config.temperature).softmax(dim=1)
        return with_positive(torch.zeros_like(candidates).scatter(1, top.indices, attention))
