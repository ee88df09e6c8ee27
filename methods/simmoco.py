"""SimMoCo: MoCo without a queue."""

import torch
from torch import Tensor, nn

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.modules.momentum import MomentumConfig, Teacher
from sslzoo.targets import Target

from .simco import SimCo


@METHODS.register("simmoco")
class SimMoCo(SimCo):
    """A query finds the momentum encoder's key of its image among the other keys of the global batch."""

    class Config(MomentumConfig, SimCo.Config):
        symmetric: bool = False
        """Let each view be query and key in turn, and average both losses."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)

    def embed(self, views: list[Tensor]) -> Tensor:
        """Queries of view 0, then keys of view 1, (B, 2, out); when symmetric, both of both views, (B, 4, out)."""
        queries = [self.student(views[q]) for q, _ in self.config.pairs]
        return torch.stack(queries + [self.teacher(views[k]) for _, k in self.config.pairs], dim=1)

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Each query against its key among the keys of the global batch."""
        queries, keys = embeddings.chunk(2, dim=1)
        return MethodOutput.mean([self.compute_loss(queries[:, i], keys[:, i]) for i in range(queries.shape[1])])

    def after_step(self, progress: float) -> None:
        """The momentum encoder follows."""
        self.teacher.update(self.student, progress)
