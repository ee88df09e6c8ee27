"""Adaptive Soft Contrastive Learning."""

from sslzoo.method.base import METHODS

from .moco import MoCo


@METHODS.register("ascl")
class ASCL(MoCo):
    """MoCo with a strong and a weak view; queries also match the neighbors of their key in the queue.

    The authors' code has no symmetric loss; `symmetric` sums both directions as in MoCo.
    """

    paper = "Feng and Patras, ICPR 2022 (arXiv 2207.11163)"
    default_target = "adaptive-soft"

    class Config(MoCo.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""
