"""Self-Distillation with No Labels."""

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.multi_crop import GLOBAL, encode_views, score_swapped_predictions
from sslzoo.method.prototypes import PrototypeMethod, WeightNormedPrototypes, measure_spread
from sslzoo.modules.heads import HeadConfig
from sslzoo.modules.momentum import MomentumConfig, Teacher
from sslzoo.runtime.distributed import gather


@METHODS.register("dino")
class DINO(PrototypeMethod):
    """All views predict the centered and sharpened output of a momentum teacher for the global views.

    The teacher's temperature rises linearly from the first epoch to epoch `warmup_epochs`, counted from 1, as the
    `linspace` of the authors' code (facebookresearch/dino, `main_dino.py`, class `DINOLoss`).
    """

    paper = "Caron et al., ICCV 2021 (arXiv 2104.14294), section 3.1 and algorithm 1"

    class Config(MomentumConfig, PrototypeMethod.Config):
        views: tuple[str, ...] = ("blurred", "solarized")
        """Augmentations: two global ones of one size, then any number of local ones."""
        momentum: float = Field(0.996, ge=0, le=1)
        """m of the teacher."""
        momentum_end: float | None = Field(1.0, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps m constant."""
        projector: HeadConfig = HeadConfig(layers=3, out=256, activation="gelu")
        """Head on the backbone, up to the bottleneck before the prototypes."""
        prototypes: PositiveInt = 65536
        """K, width of the last layer."""
        teacher_temperature: PositiveFloat = 0.07
        """Temperature of the teacher after warm-up."""
        warmup_temperature: PositiveFloat = 0.04
        """Temperature of the teacher in the first epoch."""
        warmup_epochs: NonNegativeInt = 30
        """Epochs of warm-up; the last one has the final temperature."""
        center_momentum: float = Field(0.9, ge=0, le=1)
        """EMA momentum of the center."""

    config: Config
    center: Tensor
    teacher_temperature: Tensor

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.prototypes = WeightNormedPrototypes(config.prototypes, config.projector.out)
        self.teacher = Teacher(nn.Sequential(self.student, self.prototypes), config.momentum, config.momentum_end)
        self.register_buffer("center", torch.zeros(config.prototypes))
        self.register_buffer("teacher_temperature", torch.tensor(config.warmup_temperature))

    def before_epoch(self, epoch: int) -> None:
        """Set the teacher's temperature."""
        config = self.config
        last = config.warmup_epochs - 1
        warm = min(1.0, epoch / last) if last > 0 else float(epoch > last)
        rise = warm * (config.teacher_temperature - config.warmup_temperature)
        self.teacher_temperature.fill_(config.warmup_temperature + rise)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Compute the mean cross-entropy of each view with the teacher's output for each other global view."""
        embeddings = self.embed(views)
        known = encode_views(self.teacher, views[:GLOBAL])
        targets = ((known - self.center) / self.teacher_temperature).softmax(dim=-1)
        loss = score_swapped_predictions(targets, self.prototypes(embeddings) / self.config.temperature)
        center = known.mean(dim=(0, 1))[None]
        return MethodOutput(loss, measure_spread(targets), embeddings[0].detach(), center)

    def after_batch(self, output: MethodOutput) -> None:
        """Update the center with the teacher's mean output over all processes (equation 4)."""
        assert output.keys is not None
        self.center.lerp_(gather(output.keys).mean(dim=0), 1 - self.config.center_momentum)

    def after_step(self, progress: float) -> None:
        """Update the teacher."""
        self.teacher.update(nn.Sequential(self.student, self.prototypes), progress)
