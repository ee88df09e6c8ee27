"""MoCo v3: An Empirical Study of Training Self-Supervised Vision Transformers."""

from torch import Tensor, nn

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.modules.heads import HeadConfig
from sslzoo.targets import Target

from .byol import BYOL


@METHODS.register("moco-v3")
class MoCoV3(BYOL):
    """BYOL with a contrastive loss: predictions match the key of their image against the keys of the global batch.

    The loss is 2 t times the sum of both directions, so the size of its gradient does not depend on the temperature t.
    Targets other than one-hot, which also match other keys, are our extension.
    """

    paper = "Chen, Xie and He, ICCV 2021 (arXiv 2104.02057), algorithm 1"
    default_loss = "cross-entropy"

    class Config(BYOL.Config):
        projector: HeadConfig = HeadConfig(layers=3, hidden=4096, out=256, norm="batch", out_norm="batch")
        """Head of both encoders; the authors' code has two layers for ResNets."""
        predictor: HeadConfig = HeadConfig(hidden=4096, out=256, norm="batch", out_norm="batch")
        """Head of the student; `out` must equal the projector's. The authors' code has no `out_norm` for ResNets."""
        freeze_patch_embed: bool = True
        """Keep the random patch projection of a vision transformer (section 4)."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        projection = getattr(getattr(backbone, "patch_embed", None), "proj", None)
        if config.freeze_patch_embed and projection is not None:
            projection.requires_grad_(False)
        super().__init__(config, backbone, target, loss, seed=seed)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Score the prediction from view 0 with the keys of view 1 and, if symmetric, the reverse."""
        output = super().forward(views, sample_ids)
        return output._replace(loss=self.scale * output.loss)

    def trivial_loss(self) -> float | None:
        """Return the loss if all similarities are 1."""
        loss = super().trivial_loss()
        return None if loss is None else self.scale * loss

    @property
    def scale(self) -> float:
        """Factor 2 t of the loss; 1 if the loss has no temperature."""
        return 2 * float(getattr(self.loss.config, "temperature", 0.5))
