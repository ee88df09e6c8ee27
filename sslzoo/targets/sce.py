"""The target of Similarity Contrastive Estimation: a mixture of instance discrimination and relations."""

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from sslzoo.targets.adaptive import compute_confidence, compute_relative_distribution
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("sce")
class SCE(Target):
    """The positive has weight lambda; the candidates share 1 - lambda by the softmax of the teacher's similarities."""

    paper = "Denize et al., WACV 2023 (arXiv 2111.14585)"

    class Config(Target.Config):
        positive_weight: float = Field(0.5, ge=0, le=1)
        """lambda, the weight of the positive; 1 is one-hot, 0 uses the candidates only."""
        temperature: PositiveFloat = 0.05
        """t_m, the temperature of the teacher's softmax."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M): lambda for the positive, then 1 - lambda times the softmax."""
        share = self.config.positive_weight
        q = compute_relative_distribution(candidates, self.config.temperature)
        weights = torch.cat([torch.full_like(q[:, :1], share), (1 - share) * q], dim=1)
        return TargetOutput(weights, {"confidence": compute_confidence(q).mean()})
