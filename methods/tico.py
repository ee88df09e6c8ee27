"""Transformation Invariance and Covariance Contrast."""

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.method.redundancy import RedundancyMethod
from sslzoo.modules.heads import HeadConfig
from sslzoo.modules.momentum import MomentumConfig, Teacher
from sslzoo.runtime.distributed import gather_with_gradient


@METHODS.register("tico")
class TiCo(RedundancyMethod):
    """Match the momentum encoder's embedding of the other view, and avoid the directions of a running covariance."""

    paper = "Zhu et al. 2022 (arXiv 2206.10698), algorithm 1"

    class Config(MomentumConfig, RedundancyMethod.Config):
        views: tuple[str, str] = ("blurred", "solarized")
        """Augmentations of the student and of the momentum encoder."""
        momentum_end: float | None = Field(1.0, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps m constant."""
        beta: float = Field(0.9, ge=0, lt=1)
        """EMA momentum of the covariance."""
        rho: NonNegativeFloat = 8.0
        """Weight of the covariance term."""
        projector: HeadConfig = HeadConfig(hidden=4096, out=256, norm="batch")
        """Head of both encoders."""

        @property
        def directions(self) -> str:
            return "one-directional"

    config: Config
    covariance: Tensor
    """C, (D, D), the running covariance; D is `projector.out`."""
    pending: Tensor
    """(D, D), sum of the covariances of the accumulated batches."""
    batches: Tensor
    """() float32, number of accumulated batches."""

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)
        dim = config.projector.out
        self.register_buffer("covariance", torch.zeros(dim, dim))
        self.register_buffer("pending", torch.zeros(dim, dim))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Score the student's embedding of view 0 with the momentum encoder's of view 1."""
        return self.compute_loss(self.student(views[0]), self.teacher(views[1]))

    def compute_loss(self, query: Tensor, key: Tensor) -> MethodOutput:
        """Compute 1 - mean z.z' + rho mean z.Cz of queries z and keys z' (B, D) of all processes, in float32.

        C already contains this batch, and its part has gradient.
        """
        with disable_autocast(query.device):
            z, other = (F.normalize(gather_with_gradient(each.float())) for each in (query, key))
            batch = z.T @ z / len(z)
            covariance = self.config.beta * self.covariance + (1 - self.config.beta) * batch
            invariance = 1 - (z * other).sum(dim=1).mean()
            contrast = ((z @ covariance) * z).sum(dim=1).mean()
        logs = {"invariance": invariance.detach(), "contrast": contrast.detach()}
        return MethodOutput(invariance + self.config.rho * contrast, logs, query.detach().float(), keys=batch.detach())

    def trivial_loss(self) -> float:
        """Return rho, the loss if all embeddings are equal."""
        return self.config.rho

    def after_batch(self, output: MethodOutput) -> None:
        """Accumulate the batch's covariance until the optimizer step."""
        assert output.keys is not None
        self.pending += output.keys
        self.batches += 1

    def after_step(self, progress: float) -> None:
        """Update C with the mean covariance of the accumulated batches, and the momentum encoder."""
        self.covariance.lerp_(self.pending / self.batches, 1 - self.config.beta)
        self.pending.zero_()
        self.batches.zero_()
        self.teacher.update(self.student, progress)
