"""Cross-entropy whose anchors weigh as they would at a higher temperature."""

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("dual-temperature")
class DualTemperature(Loss):
    """Cross-entropy at t, each anchor times (1 - p_0(t')) / (1 - p_0(t)), without gradient through the factor.

    The gradient of an anchor's cross-entropy has the size 1 - p_0: t says how it is shared among an anchor's
    candidates, t' how much each anchor has of it.
    """

    paper = "Zhang et al., CVPR 2022 (arXiv 2203.17248), section 4"
    soft = False

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.1
        """t, within an anchor (tau alpha)."""
        inter_temperature: PositiveFloat = 1.0
        """t', between anchors (tau beta)."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """(B, 1 + M) and (B, 1 + M) to (B,)."""
        intra, inter = self.lead(student, self.config.temperature), self.lead(student, self.config.inter_temperature)
        factor = (F.logsigmoid(inter) - F.logsigmoid(intra)).clamp(max=80).exp().detach()
        return factor * F.softplus(intra)

    def lead(self, student: Tensor, temperature: float) -> Tensor:
        """x (B,) of the candidates over the positive, p_0 = sigmoid(-x)."""
        logits = student / temperature
        return logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
