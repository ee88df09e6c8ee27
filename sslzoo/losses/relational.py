"""Softmax cross-entropy over the candidates only."""

from pydantic import PositiveFloat
from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("relational")
class Relational(Loss):
    """- sum_j w_j log softmax(similarity / t)_j over the candidates, without the positive."""

    paper = "Zheng et al., NeurIPS 2021 (arXiv 2107.09282), algorithm 1; Tejankar et al., ICCV 2021 (arXiv 2012.09259)"
    positive = False

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.1
        """t, the temperature of the student's softmax."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor from similarities and weights, both (B, 1 + M)."""
        return -(weights[:, 1:] * (student[:, 1:] / self.config.temperature).log_softmax(dim=1)).sum(dim=1)
