"""Variance-Invariance-Covariance Regularization."""

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS
from sslzoo.method.redundancy import RedundancyMethod, zero_diagonal


@METHODS.register("vicreg")
class VICReg(RedundancyMethod):
    """Match the embeddings of two views, keep the variance of each dimension, and decorrelate dimensions."""

    paper = "Bardes et al., ICLR 2022 (arXiv 2105.04906), equations 1 to 6 and algorithm 1; factors as in their code"

    class Config(RedundancyMethod.Config):
        views: tuple[str, str] = ("blurred", "solarized")
        """Augmentations of the two views."""
        invariance: NonNegativeFloat = 25.0
        """lambda, weight of the squared distance of the views, a mean over images and dimensions."""
        variance: NonNegativeFloat = 25.0
        """mu, weight of the hinge on standard deviations, a mean over dimensions and views; a sum in solo-learn."""
        covariance: NonNegativeFloat = 1.0
        """nu, weight of the squared covariances, a sum over views and pairs divided by the number of dimensions."""
        gamma: PositiveFloat = 1.0
        """Target of the standard deviations."""
        eps: PositiveFloat = 1e-4
        """Added to the variance, so that its root has a finite gradient at 0."""

    config: Config

    def score(self, embeddings: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute lambda s(Z, Z') + mu [v(Z) + v(Z')] / 2 + nu [c(Z) + c(Z')]."""
        config = self.config
        one, other = embeddings
        invariance = F.mse_loss(one, other)
        variance = torch.stack([self.variance(each) for each in embeddings]).mean()
        covariance = torch.stack([self.covariance(each) for each in embeddings]).sum()
        loss = config.invariance * invariance + config.variance * variance + config.covariance * covariance
        return loss, {"invariance": invariance, "variance": variance, "covariance": covariance}

    def variance(self, embeddings: Tensor) -> Tensor:
        """Compute v, the mean of how far the standard deviations are below gamma."""
        return F.relu(self.config.gamma - (embeddings.var(dim=0) + self.config.eps).sqrt()).mean()

    def covariance(self, embeddings: Tensor) -> Tensor:
        """Compute c, the sum of the squared covariances of different dimensions divided by the number of dimensions."""
        centered = embeddings - embeddings.mean(dim=0)
        covariance = centered.T @ centered / (len(centered) - 1)
        return zero_diagonal(covariance).square().sum() / covariance.shape[0]
