"""The target of MoCo: the positive alone."""

from torch import Tensor

from sslzoo.targets.base import TARGETS, Target, TargetOutput


@TARGETS.register("one-hot")
class OneHot(Target):
    """The positive has all weight: instance discrimination, as in MoCo, SimCLR and BYOL."""

    paper = "van den Oord et al. 2018 (arXiv 1807.03748), equation 4; He et al., CVPR 2020 (arXiv 1911.05722)"
    soft = False

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute weights (B, 1 + M): 1 in column 0, else 0."""
        weights = candidates.new_zeros(len(candidates), 1 + candidates.shape[1])
        weights[:, 0].fill_(1)
        return TargetOutput(weights, {})
