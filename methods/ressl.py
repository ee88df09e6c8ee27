"""Relational Self-Supervised Learning with Weak Augmentation."""

from sslzoo.method.base import METHODS

from .moco import MoCo


@METHODS.register("ressl")
class ReSSL(MoCo):
    """MoCo whose strong query matches the weak view's similarities to the older keys; there is no positive."""

    paper = "Zheng et al., NeurIPS 2021 (arXiv 2107.09282), algorithm 1"
    default_target = "relational"
    default_loss = "relational"

    class Config(MoCo.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""
