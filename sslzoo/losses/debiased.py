"""Cross-entropy with a correction for false negatives, and with weights for hard negatives."""

import math

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("debiased")
class Debiased(Loss):
    """- log p / (p + g), with g = max((S - c M p) / (1 - c), M exp(-1 / t)), p = exp(s_0 / t), S = sum_j exp(s_j / t).

    g estimates the sum over the true negatives among the M candidates, if a fraction c of all images belongs to the
    class of the anchor. The positive represents this class.
    """

    paper = "Chuang et al., NeurIPS 2020 (arXiv 2007.00224), equation 8, with M = 1 positive sample"
    soft = False

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.5
        """t, the temperature of the student's similarities."""
        class_prior: float = Field(0.1, ge=0, lt=1)
        """c, the probability that a candidate has the anchor's class (tau+ in the paper); 0 gives cross-entropy."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor from similarities and weights, both (B, 1 + M)."""
        prior, temperature = self.config.class_prior, self.config.temperature
        logits = student / temperature
        count = logits.shape[1] - 1
        top = logits.amax(dim=1).detach()
        positive = (logits[:, 0] - top).exp()
        negatives = (self.sum_negatives(logits[:, 1:]) - top).exp()
        estimate = (negatives - prior * count * positive) / (1 - prior)
        least = count * (-1 / temperature - top).exp()
        return (positive + estimate.maximum(least)).log() + top - logits[:, 0]

    def sum_negatives(self, logits: Tensor) -> Tensor:
        """Compute log S (B,) from the logits (B, M) of the candidates."""
        return logits.logsumexp(dim=1)


@LOSSES.register("hard-negative")
class HardNegative(Debiased):
    """HCL: the debiased loss with candidates weighted by exp(beta s_j / t), normalized to mean 1 for each anchor."""

    paper = "Robinson et al., ICLR 2021 (arXiv 2010.04592), section 3; the authors' code, estimator `hard`"

    class Config(Debiased.Config):
        beta: NonNegativeFloat = 1.0
        """Concentration on hard negatives; 0 gives the debiased loss."""

    config: Config

    def sum_negatives(self, logits: Tensor) -> Tensor:
        """Compute log S (B,) of the weighted sum from the logits (B, M) of the candidates."""
        beta = self.config.beta
        weighted = ((1 + beta) * logits).logsumexp(dim=1) - (beta * logits).logsumexp(dim=1)
        return weighted + math.log(logits.shape[1])
