"""Cross-entropy without the positive in the denominator.

Source: Yeh et al., "Decoupled Contrastive Learning", ECCV 2022 (arXiv 2110.06848).
"""

from pydantic import PositiveFloat
from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss
from sslzoo.runtime.distributed import gather, local_part


@LOSSES.register("decoupled")
class Decoupled(Loss):
    """DCL: - sum_j w_j s_j / t + log sum_j exp(s_j / t), where the second sum is over the candidates only.

    The paper has no soft weights; with them, the denominator still contains all candidates.
    """

    paper = "Yeh et al., ECCV 2022 (arXiv 2110.06848), equation 6"

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.1
        """t, the temperature of the student's similarities."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor from similarities and weights, both (B, 1 + M)."""
        logits = student / self.config.temperature
        return logits[:, 1:].logsumexp(dim=1) - self.compute_factor(student) * (weights * logits).sum(dim=1)

    def compute_factor(self, student: Tensor) -> Tensor | float:
        """Compute the factor, (B,) or scalar, of the first term."""
        return 1.0


@LOSSES.register("decoupled-weighted")
class DecoupledWeighted(Decoupled):
    """DCLW: DCL with its first term multiplied by 2 - e / mean(e), where e = exp(s_0 / sigma).

    The mean is over the positives of the global batch. The factor is 1 on average, and larger for positives that are
    less similar. It has no gradient; otherwise the loss would push positives apart that are more similar than others.
    """

    paper = "Yeh et al., ECCV 2022 (arXiv 2110.06848), section 3.2"
    couples_rows = True

    class Config(Decoupled.Config):
        sigma: PositiveFloat = 0.5
        """sigma, the inverse concentration of the von Mises-Fisher weight."""

    config: Config

    def compute_factor(self, student: Tensor) -> Tensor:
        """Compute the factor (B,) from similarities (B, 1 + M)."""
        positives = gather(student[:, 0] / self.config.sigma)
        return local_part(2 - len(positives) * positives.softmax(dim=0))
