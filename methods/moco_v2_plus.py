"""MoCo v2 with a symmetric loss."""

from pydantic import Field, PositiveInt

from sslzoo.method.base import METHODS
from sslzoo.modules.heads import HeadConfig

from .moco import MoCo


@METHODS.register("moco-v2-plus")
class MoCoV2Plus(MoCo):
    """MoCo v2 in both directions, its batch norm over the whole batch, as solo-learn's MoCo v2+.

    One queue holds the keys of both views; solo-learn keeps one for each.
    """

    paper = "Chen and He, CVPR 2021 (arXiv 2011.10566), appendix; solo-learn, da Costa et al., JMLR 2022"

    class Config(MoCo.Config):
        symmetric: bool = True
        """Let each view be query and key in turn, and average both losses."""
        split_bn: PositiveInt = 1
        """Groups that the backbone's batch norm sees a batch in, over all processes; 1 is the whole batch."""
        shuffle: bool = False
        """Encode keys in random order, where the backbone has batch norm."""
        momentum_end: float | None = Field(0.999, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps it constant."""
        projector: HeadConfig = HeadConfig(out=256)
        """Head on the backbone."""
