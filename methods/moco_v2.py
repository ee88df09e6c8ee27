"""Improved Baselines with Momentum Contrastive Learning."""

from sslzoo.method.base import METHODS

from .moco import MoCo


@METHODS.register("moco-v2")
class MoCoV2(MoCo):
    """MoCo with SimCLR's head and augmentations: `moco` with the paper's temperature on ImageNet."""

    paper = "Chen et al. 2020 (arXiv 2003.04297)"
