"""Momentum Contrast as first published."""

from sslzoo.method.base import METHODS
from sslzoo.modules.heads import HeadConfig

from .moco import MoCo


@METHODS.register("moco-v1")
class MoCoV1(MoCo):
    """MoCo with a linear head; its temperature and augmentations are in `configs/method/moco-v1.yaml`."""

    paper = "He et al., CVPR 2020 (arXiv 1911.05722), section 4.1"

    class Config(MoCo.Config):
        projector: HeadConfig = HeadConfig(layers=1)
        """Head on the backbone."""
