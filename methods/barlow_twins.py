"""Barlow Twins."""

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from sslzoo.method.base import METHODS
from sslzoo.method.redundancy import RedundancyMethod, standardize, zero_diagonal


@METHODS.register("barlow-twins")
class BarlowTwins(RedundancyMethod):
    """Make the cross-correlation of the embeddings of two views the identity matrix."""

    paper = "Zbontar et al., ICML 2021 (arXiv 2103.03230), equation 1"

    class Config(RedundancyMethod.Config):
        views: tuple[str, str] = ("blurred", "solarized")
        """Augmentations of the two views."""
        off_diagonal: NonNegativeFloat = 0.0051
        """lambda, weight of the correlations of different dimensions."""
        scale: PositiveFloat = 1.0
        """Factor of the loss; with LARS it only affects the parameters that LARS does not adapt, biases and norms."""

    config: Config

    def score(self, embeddings: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2; C are correlations of dimensions over the batch."""
        one, other = map(standardize, embeddings)
        correlation = one.T @ other / len(one)
        invariance = (1 - correlation.diagonal()).square().sum()
        redundancy = zero_diagonal(correlation).square().sum()
        loss = self.config.scale * (invariance + self.config.off_diagonal * redundancy)
        return loss, {"invariance": invariance, "redundancy": redundancy}
