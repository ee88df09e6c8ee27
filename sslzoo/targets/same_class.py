"""The target of supervised contrastive learning."""

from torch import Tensor

from sslzoo.targets.adaptive import prepend_positive
from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("same-class")
class SameClass(Target):
    """The positive and all candidates of its class have equal weights."""

    paper = "Khosla et al., NeurIPS 2020 (arXiv 2004.11362), equation 2"
    supervised = True

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M).

        Args:
            positive: (B,), not used.
            candidates: (B, M), 1 for a candidate of the same class, at most 0 for another class.
        """
        return prepend_positive(candidates.clamp(min=0))
