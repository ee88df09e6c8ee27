"""Debiased Contrastive Learning."""

from sslzoo.method.base import METHODS

from .simclr import SimCLR


@METHODS.register("debiased")
class Debiased(SimCLR):
    """SimCLR with a loss corrected for negatives of the anchor's class."""

    paper = "Chuang et al., NeurIPS 2020 (arXiv 2007.00224)"
    default_loss = "debiased"
