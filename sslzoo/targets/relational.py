"""The target of relational methods: the teacher's similarities with the candidates, without the positive."""

import torch
from pydantic import PositiveFloat
from torch import Tensor

from sslzoo.targets.adaptive import compute_confidence, compute_relative_distribution
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("relational")
class Relational(Target):
    """The weights are the softmax of the teacher's similarities with the candidates; the positive has no weight."""

    paper = "Zheng et al., NeurIPS 2021 (arXiv 2107.09282), algorithm 1; Tejankar et al., ICCV 2021 (arXiv 2012.09259)"
    positive = False
    default_loss = "relational"

    class Config(Target.Config):
        temperature: PositiveFloat = 0.04
        """Temperature of the teacher's softmax; below the student's, so that the target is sharper."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M): 0 for the positive, then the softmax."""
        q = compute_relative_distribution(candidates, self.config.temperature)
        weights = torch.cat([torch.zeros_like(q[:, :1]), q], dim=1)
        return TargetOutput(weights, {"confidence": compute_confidence(q).mean()})
