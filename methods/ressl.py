"""Relational Self-Supervised Learning with Weak Augmentation."""

from sslzoo.method.base import METHODS

from .moco import MoCo


@METHODS.register("ressl")
class ReSSL(MoCo):
    """A strong query matches the distribution of the weak key's similarities to older keys; there is no positive.

    The authors' code is one-directional; `symmetric` sums both directions as in MoCo.
    """

    paper = "Zheng et al., NeurIPS 2021 (arXiv 2107.09282), algorithm 1"
    default_target = "relational"
    default_loss = "relational"

    class Config(MoCo.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""
