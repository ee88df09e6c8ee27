"""Decoupled Contrastive Learning, weighted."""

from sslzoo.method.base import METHODS

from .dcl import DCL


@METHODS.register("dclw")
class DCLW(DCL):
    """DCL in which positives that are far apart weigh more."""

    default_loss = "decoupled-weighted"
