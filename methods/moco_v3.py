"""MoCo v3: An Empirical Study of Training Self-Supervised Vision Transformers."""

from torch import Tensor, nn

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.modules.heads import HeadConfig
from sslzoo.targets import Target

from .byol import BYOL


@METHODS.register("moco-v3")
class MoCoV3(BYOL):
    """BYOL's encoders, whose predictions find the key of their image among the keys of the global batch.

    The loss is 2 t times the sum over both directions, which keeps its gradient's size at any temperature t. With
    another target the prediction also matches other keys, which is our extension.
    """

    paper = "Chen, Xie and He, ICCV 2021 (arXiv 2104.02057), algorithm 1"
    default_loss = "cross-entropy"

    class Config(BYOL.Config):
        projector: HeadConfig = HeadConfig(layers=3, hidden=4096, out=256, norm="batch", out_norm="batch")
        """Head of both encoders; two layers for a ResNet in the authors' code."""
        predictor: HeadConfig = HeadConfig(hidden=4096, out=256, norm="batch", out_norm="batch")
        """Head of the student alone; its output is as wide as the projector's."""
        freeze_patch_embed: bool = True
        """Keep the patch projection of a vision transformer as it was drawn, where the backbone has one (section 4)."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        projection = getattr(getattr(backbone, "patch_embed", None), "proj", None)
        if config.freeze_patch_embed and projection is not None:
            projection.requires_grad_(False)
        super().__init__(config, backbone, target, loss, seed=seed)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """The prediction from view 0 against the keys of view 1; when symmetric, the other way round as well."""
        output = super().forward(views, sample_ids)
        return output._replace(loss=self.scale * len(self.config.pairs) * output.loss)

    @property
    def scale(self) -> float:
        """2 t; 1 where the loss has no temperature."""
        return 2 * float(getattr(self.loss.config, "temperature", 0.5))
