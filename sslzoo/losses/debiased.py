"""Cross-entropy whose negatives are corrected for false ones, and for how hard they are."""

import math

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("debiased")
class Debiased(Loss):
    """- log p / (p + g), g = max((S - c M p) / (1 - c), M exp(-1 / t)), of p = exp(s_0 / t) and M negatives' sum S.

    g estimates the sum over true negatives when a share c of all images is of the anchor's class, the positive
    standing for that class.
    """

    paper = "Chuang et al., NeurIPS 2020 (arXiv 2007.00224), equation 8, with M = 1 positive sample"
    soft = False

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.5
        """t, the student's temperature."""
        class_prior: float = Field(0.1, ge=0, lt=1)
        """c, the probability that a candidate is of the anchor's class, tau+ in the paper; 0 is cross-entropy."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """(B, 1 + M) and (B, 1 + M) to (B,)."""
        prior, temperature = self.config.class_prior, self.config.temperature
        logits = student / temperature
        count = logits.shape[1] - 1
        top = logits.amax(dim=1).detach()
        positive = (logits[:, 0] - top).exp()
        negatives = (self.log_sum(logits[:, 1:]) - top).exp()
        estimate = (negatives - prior * count * positive) / (1 - prior)
        least = count * (-1 / temperature - top).exp()
        return (positive + estimate.maximum(least)).log() + top - logits[:, 0]

    def log_sum(self, logits: Tensor) -> Tensor:
        """Logarithm (B,) of the sum of exp over negatives (B, M)."""
        return logits.logsumexp(dim=1)


@LOSSES.register("hard-negative")
class HardNegative(Debiased):
    """HCL: the debiased loss with negatives weighed by exp(beta s / t), 1 on average over those of an anchor."""

    paper = "Robinson et al., ICLR 2021 (arXiv 2010.04592), section 3; the authors' code, estimator `hard`"

    class Config(Debiased.Config):
        beta: NonNegativeFloat = 1.0
        """Concentration on negatives that are close; 0 is the debiased loss."""

    config: Config

    def log_sum(self, logits: Tensor) -> Tensor:
        """(B, M) to (B,)."""
        beta = self.config.beta
        weighed = ((1 + beta) * logits).logsumexp(dim=1) - (beta * logits).logsumexp(dim=1)
        return weighed + math.log(logits.shape[1])
