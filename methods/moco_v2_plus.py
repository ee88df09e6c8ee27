"""MoCo v2 with a symmetric loss."""

from pydantic import Field, PositiveInt

from sslzoo.method.base import METHODS
from sslzoo.method.pair import DirectionReduction
from sslzoo.modules.heads import HeadConfig

from .moco import MoCo


@METHODS.register("moco-v2-plus")
class MoCoV2Plus(MoCo):
    """MoCo v2 with a symmetric loss and batch norm over the whole batch, as MoCo v2+ in solo-learn.

    The loss is the mean of both directions (`solo/methods/mocov2plus.py`). Unlike in solo-learn, one queue holds the
    keys of both views.
    """

    paper = "Chen and He, CVPR 2021 (arXiv 2011.10566), appendix; solo-learn, da Costa et al., JMLR 2022"

    class Config(MoCo.Config):
        symmetric: bool = True
        """Use each view as query and as key."""
        direction_reduction: DirectionReduction = "mean"
        """Whether a symmetric loss is the mean or the sum of its directions."""
        split_bn: PositiveInt = 1
        """Groups into which the backbone's batch norm splits the global batch; 1 is the whole batch."""
        shuffle: bool = False
        """Encode keys in random order if the backbone has batch norm."""
        momentum_end: float | None = Field(0.999, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps m constant."""
        projector: HeadConfig = HeadConfig(out=256)
        """Head on the backbone."""
