"""Decoupled Contrastive Learning."""

from sslzoo.method.base import METHODS

from .simclr import SimCLR


@METHODS.register("dcl")
class DCL(SimCLR):
    """SimCLR without the positive in the denominator."""

    paper = "Yeh et al., ECCV 2022 (arXiv 2110.06848), equation 6"
    default_loss = "decoupled"
