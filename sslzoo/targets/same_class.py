"""The target of supervised contrastive learning."""

from torch import Tensor

from sslzoo.targets.adaptive import with_positive
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("same-class")
class SameClass(Target):
    """The positive and all candidates of its class, with equal weights."""

    paper = "Khosla et al., NeurIPS 2020 (arXiv 2004.11362), equation 2"
    supervised = True

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M), from candidates (B, M): 1 of the same class, 0 or less of another."""
        return with_positive(candidates.clamp(min=0))
