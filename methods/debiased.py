"""Debiased Contrastive Learning."""

from sslzoo.method.base import METHODS

from .simclr import SimCLR


@METHODS.register("debiased")
class Debiased(SimCLR):
    """SimCLR whose loss corrects for negatives that are of the anchor's class."""

    paper = "Chuang et al., NeurIPS 2020 (arXiv 2007.00224)"
    default_loss = "debiased"
