"""Improved Baselines with Momentum Contrastive Learning."""

from sslzoo.method.base import METHODS

from .moco import MoCo


@METHODS.register("moco-v2")
class MoCoV2(MoCo):
    """MoCo with the head and the views of SimCLR: `moco` itself, at the temperature of the paper on ImageNet."""

    paper = "Chen et al. 2020 (arXiv 2003.04297)"
