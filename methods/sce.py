"""Similarity Contrastive Estimation."""

from sslzoo.method.base import METHODS
from sslzoo.method.pair import DirectionReduction

from .moco import MoCo


@METHODS.register("sce")
class SCE(MoCo):
    """MoCo with a strong and a weak view; queries also match the distribution of the key's similarities to older keys.

    A symmetric loss is the mean of both directions, as in the authors' code (CEA-LIST/SCE,
    `sce/models/siamese/shuffle_momentum_queue_base.py`). The softmax of the target runs over the older keys only, as in
    the paper; in the authors' code (`sce/models/siamese/sce.py`) it also has a logit of 0 for the key itself.
    """

    paper = "Denize et al., WACV 2023 (arXiv 2111.14585)"
    default_target = "sce"

    class Config(MoCo.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""
        direction_reduction: DirectionReduction = "mean"
        """Whether a symmetric loss is the mean or the sum of its directions."""
