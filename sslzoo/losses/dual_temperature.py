"""Cross-entropy with the weights that anchors have at a higher temperature."""

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("dual-temperature")
class DualTemperature(Loss):
    """Cross-entropy at temperature t, with each anchor multiplied by (1 - p_0(t')) / (1 - p_0(t)).

    p_0 is the softmax probability of the positive; the factor has no gradient. The gradient of cross-entropy is
    proportional to 1 - p_0 of its anchor: t distributes it over the candidates, and t' over the anchors.
    """

    paper = "Zhang et al., CVPR 2022 (arXiv 2203.17248), section 4"
    soft = False

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.1
        """t, the temperature within an anchor; tau_alpha in the paper."""
        inter_temperature: PositiveFloat = 1.0
        """t', the temperature between anchors; tau_beta in the paper."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor from similarities and weights, both (B, 1 + M)."""
        intra = self.compute_log_odds(student, self.config.temperature)
        inter = self.compute_log_odds(student, self.config.inter_temperature)
        factor = (F.logsigmoid(inter) - F.logsigmoid(intra)).clamp(max=80).exp().detach()
        return factor * F.softplus(intra)

    def compute_log_odds(self, student: Tensor, temperature: float) -> Tensor:
        """Compute log((1 - p_0) / p_0), (B,), from similarities (B, 1 + M)."""
        logits = student / temperature
        return logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
