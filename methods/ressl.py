"""Relational Self-Supervised Learning with Weak Augmentation."""

from sslzoo.method.base import METHODS

from .moco import MoCo


@METHODS.register("ressl")
class ReSSL(MoCo):
    """MoCo whose strong query stands among the older keys as the weak view's key does; nothing is a positive."""

    paper = "Zheng et al., NeurIPS 2021 (arXiv 2107.09282), algorithm 1"
    default_target = "relational"
    default_loss = "relational"

    class Config(MoCo.Config):
        views: tuple[str, str] = ("strong", "weak")
        """View recipes of query and key."""
