"""Contrastive Learning with Hard Negative Samples."""

from sslzoo.method.base import METHODS

from .debiased import Debiased


@METHODS.register("hcl")
class HCL(Debiased):
    """Debiased SimCLR with larger weights for negatives close to the anchor."""

    paper = "Robinson et al., ICLR 2021 (arXiv 2010.04592)"
    default_loss = "hard-negative"
