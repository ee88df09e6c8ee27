"""Consistent Contrast."""

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from sslzoo.method.base import METHODS
from sslzoo.modules.chunked import Scored

from .moco import MoCo


@METHODS.register("co2")
class CO2(MoCo):
    """MoCo whose query and key should also have similar distributions over the negatives.

    loss + alpha / 2 (KL(p || q) + KL(q || p)), where p and q are the softmax of the query's and of the key's
    similarities over the queue alone; the key carries no gradient.
    """

    paper = "Wei et al., ICLR 2021 (arXiv 2010.02217)"

    class Config(MoCo.Config):
        consistency: NonNegativeFloat = 0.3
        """alpha, the weight of the consistency term; 0 is MoCo."""
        consistency_temperature: PositiveFloat = 0.05
        """Temperature of the softmax over the negatives, of query and key alike."""

    config: Config

    def score(
        self,
        student_positive: Tensor,
        student_candidates: Tensor,
        teacher_positive: Tensor,
        teacher_candidates: Tensor,
    ) -> Scored:
        """Mean loss of the anchors, the consistency term included, and the logs."""
        loss, logs = super().score(student_positive, student_candidates, teacher_positive, teacher_candidates)
        log_p = (student_candidates / self.config.consistency_temperature).log_softmax(dim=1)
        log_q = (teacher_candidates / self.config.consistency_temperature).log_softmax(dim=1)
        divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1).mean() / 2
        return loss + self.config.consistency * divergence, logs | {"inconsistency": divergence.detach()}
