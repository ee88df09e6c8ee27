"""The target of MoCo: the positive alone."""

from torch import Tensor

from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("one-hot")
class OneHot(Target):
    """All weight on the positive: instance discrimination, as in MoCo, SimCLR and plain BYOL."""

    paper = "van den Oord et al. 2018 (arXiv 1807.03748), equation 4; He et al., CVPR 2020 (arXiv 1911.05722)"
    soft = False

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights (B, 1 + M): 1 in column 0, 0 elsewhere."""
        weights = candidates.new_zeros(len(candidates), 1 + candidates.shape[1])
        weights[:, 0].fill_(1)
        return TargetOutput(weights, {})
