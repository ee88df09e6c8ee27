"""The target of relational methods: the key's similarities to the candidates, without the positive."""

import torch
from pydantic import PositiveFloat
from torch import Tensor

from sslzoo.targets.adaptive import confidence, relative_distribution
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("relational")
class Relational(Target):
    """The softmax of the key's similarities to the candidates; the positive has no weight."""

    paper = "Zheng et al., NeurIPS 2021 (arXiv 2107.09282), algorithm 1; Tejankar et al., ICCV 2021 (arXiv 2012.09259)"
    positive = False
    default_loss = "relational"

    class Config(Target.Config):
        temperature: PositiveFloat = 0.04
        """The teacher's temperature, lower than the student's, so that the target is sharper than the prediction."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M): 0 in column 0, then the softmax."""
        q = relative_distribution(candidates, self.config.temperature)
        weights = torch.cat([torch.zeros_like(q[:, :1]), q], dim=1)
        return TargetOutput(weights, {"confidence": confidence(q).mean()})
