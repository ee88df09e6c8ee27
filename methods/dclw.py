"""Decoupled Contrastive Learning, weighted."""

from sslzoo.method.base import METHODS

from .dcl import DCL


@METHODS.register("dclw")
class DCLW(DCL):
    """DCL with larger weights for positives that are far apart."""

    default_loss = "decoupled-weighted"
