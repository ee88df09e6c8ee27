"""Cross-entropy without the positive in the denominator: Yeh et al., "Decoupled Contrastive Learning", ECCV 2022."""

from pydantic import PositiveFloat
from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss
from sslzoo.runtime.distributed import gather, local_part


@LOSSES.register("decoupled")
class Decoupled(Loss):
    """- sum_j w_j s_j / t + log sum over the candidates of exp(s / t): DCL.

    With soft weights, which the paper does not have, the positive alone leaves the denominator.
    """

    paper = "Yeh et al., ECCV 2022 (arXiv 2110.06848), equation 6"

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.1
        """t, the student's temperature."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """(B, 1 + M) and (B, 1 + M) to (B,)."""
        logits = student / self.config.temperature
        return logits[:, 1:].logsumexp(dim=1) - self.attraction(student) * (weights * logits).sum(dim=1)

    def attraction(self, student: Tensor) -> Tensor | float:
        """Factor (B,) or scalar of the term that attracts."""
        return 1.0


@LOSSES.register("decoupled-weighted")
class DecoupledWeighted(Decoupled):
    """DCLW: the term that attracts times 2 - exp(s_0 / sigma) / mean of it over the positives of the global batch.

    The factor is 1 on average, the greater the further apart the positive is, and without gradient: with one, the
    loss would push positives apart that are closer than others.
    """

    paper = "Yeh et al., ECCV 2022 (arXiv 2110.06848), section 3.2"
    couples_rows = True

    class Config(Decoupled.Config):
        sigma: PositiveFloat = 0.5
        """Inverse concentration of the von Mises-Fisher weight."""

    config: Config

    def attraction(self, student: Tensor) -> Tensor:
        """(B, 1 + M) to (B,)."""
        positives = gather(student[:, 0] / self.config.sigma)
        return local_part(2 - len(positives) * positives.softmax(dim=0))
