"""Cosine losses of methods without negatives."""

from torch import Tensor

from sslzoo.losses.base import LOSSES, Loss


@LOSSES.register("cosine")
class Cosine(Loss):
    """2 - 2 sum_j w_j cos_j: the squared distance of unit vectors, as in BYOL, averaged over all pairs with weight."""

    paper = "Grill et al., NeurIPS 2020 (arXiv 2006.07733), equation 2"
    repels = False

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor from similarities and weights, both (B, 1 + M)."""
        return 2 - 2 * (weights * student).sum(dim=1)


@LOSSES.register("negative-cosine")
class NegativeCosine(Loss):
    """- sum_j w_j cos_j: the loss of SimSiam; half of `cosine`, up to a constant."""

    paper = "Chen and He, CVPR 2021 (arXiv 2011.10566), equation 1"
    repels = False

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor from similarities and weights, both (B, 1 + M)."""
        return -(weights * student).sum(dim=1)
