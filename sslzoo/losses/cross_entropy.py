"""Softmax cross-entropy over the positive and the candidates."""

from pydantic import PositiveFloat
from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("cross-entropy")
class CrossEntropy(Loss):
    """- sum_j w_j log softmax(similarity / t)_j: InfoNCE with one-hot weights, and its extension to soft weights."""

    paper = "van den Oord et al. 2018 (arXiv 1807.03748); soft weights: Feng and Patras, ICPR 2022 (arXiv 2207.11163)"

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.1
        """t, the temperature of the student's softmax."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor from similarities and weights, both (B, 1 + M)."""
        return -(weights * (student / self.config.temperature).log_softmax(dim=1)).sum(dim=1)
