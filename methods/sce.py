"""Similarity Contrastive Estimation."""

from sslzoo.method.base import METHODS

from .moco import MoCo


@METHODS.register("sce")
class SCE(MoCo):
    """MoCo with a strong and a weak view, whose queries also learn the similarities of the key to the older keys."""

    paper = "Denize et al., WACV 2023 (arXiv 2111.14585)"
    default_target = "sce"

    class Config(MoCo.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""
