"""The target of Similarity Contrastive Estimation: instance discrimination and relations, mixed."""

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from sslzoo.targets.adaptive import confidence, relative_distribution
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("sce")
class SCE(Target):
    """The positive weighs lambda; the candidates share the rest by the softmax of the key's similarities."""

    paper = "Denize et al., WACV 2023 (arXiv 2111.14585)"

    class Config(Target.Config):
        positive_weight: float = Field(0.5, ge=0, le=1)
        """lambda, the weight of the positive: 1 is one-hot, 0 the candidates alone."""
        temperature: PositiveFloat = 0.05
        """t_m, the teacher's temperature."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M): lambda in column 0, then 1 - lambda times the softmax."""
        share = self.config.positive_weight
        q = relative_distribution(candidates, self.config.temperature)
        weights = torch.cat([torch.full_like(q[:, :1], share), (1 - share) * q], dim=1)
        return TargetOutput(weights, {"confidence": confidence(q).mean()})
