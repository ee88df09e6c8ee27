"""Squared distance of unit vectors, for frameworks without negatives."""

from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("cosine")
class Cosine(Loss):
    """2 - 2 sum_j w_j cos_j: the loss of BYOL, over several positives where the target gives them."""

    paper = "Grill et al., NeurIPS 2020 (arXiv 2006.07733), equation 2"
    repels = False

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """(B, 1 + M) and (B, 1 + M) to (B,)."""
        return 2 - 2 * (weights * student).sum(dim=1)


@LOSSES.register("negative-cosine")
class NegativeCosine(Loss):
    """- sum_j w_j cos_j: the loss of SimSiam, half of `cosine` but for a constant."""

    paper = "Chen and He, CVPR 2021 (arXiv 2011.10566), equation 1"
    repels = False

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """(B, 1 + M) and (B, 1 + M) to (B,)."""
        return -(weights * student).sum(dim=1)
