"""The target of MNN's mixture, for methods that score neighbors one by one."""

from pydantic import Field, PositiveInt
from torch import Tensor

from sslzoo.targets.adaptive import mark_nearest, prepend_positive
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("mixed-neighbors")
class MixedNeighbors(Target):
    """The positive weighs 2 - lambda; its top-K neighbors share lambda equally; rows are divided by 2.

    With a cosine loss this is half of MNN's loss for mixtures of unit vectors, as its authors' last version has them:
    the loss is linear in the mixture, and so is a random lambda of mean 1/2 that of 1/2 on average. With other losses
    it is our extension.
    """

    paper = "Long et al. 2023 (arXiv 2311.00562)"

    class Config(Target.Config):
        neighbors: PositiveInt = 5
        """K, the number of neighbors."""
        share: float = Field(0.5, ge=0, le=1)
        """lambda, the share of a neighbor in its mixture with the key; 0 is one-hot, 1 weighs all neighbors together
        as much as the positive."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M)."""
        share, count = self.config.share, min(self.config.neighbors, candidates.shape[1])
        return prepend_positive(mark_nearest(candidates, count) * (share / (2 - share) / count))
