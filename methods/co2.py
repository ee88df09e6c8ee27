"""Consistent Contrast."""

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from sslzoo.method.base import METHODS
from sslzoo.modules.chunked import Scored

from .moco import MoCo


@METHODS.register("co2")
class CO2(MoCo):
    """MoCo with a consistency term: query and key have similar distributions over the negatives.

    The loss is that of MoCo plus alpha / 2 (KL(p || q) + KL(q || p)). p and q are the softmax of the similarities of
    query and key to the queue; the key has no gradient. Code of the authors was not available: the term follows the
    paper alone. `symmetric` sums both directions as in MoCo.
    """

    paper = "Wei et al., ICLR 2021 (arXiv 2010.02217)"

    class Config(MoCo.Config):
        consistency: NonNegativeFloat = 0.3
        """alpha, the weight of the consistency term; 0 is MoCo."""
        consistency_temperature: PositiveFloat = 0.05
        """Temperature of both softmaxes over the negatives."""

    config: Config

    def score(
        self,
        student_positive: Tensor,
        student_candidates: Tensor,
        teacher_positive: Tensor,
        teacher_candidates: Tensor,
    ) -> Scored:
        """Compute the mean loss of the anchors including the consistency term, and the logs."""
        loss, logs = super().score(student_positive, student_candidates, teacher_positive, teacher_candidates)
        log_p = (student_candidates / self.config.consistency_temperature).log_softmax(dim=1)
        log_q = (teacher_candidates / self.config.consistency_temperature).log_softmax(dim=1)
        divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1).mean() / 2
        return loss + self.config.consistency * divergence, logs | {"inconsistency": divergence.detach()}
