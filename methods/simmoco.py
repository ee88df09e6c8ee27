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
    """A query matches the momentum encoder's key of its image against the other keys of the global batch."""

    class Config(MomentumConfig, SimCo.Config):
        symmetric: bool = False
        """Use each view as query and as key."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)

    def embed(self, views: list[Tensor]) -> Tensor:
        """Encode queries of view 0, then keys of view 1, (B, 2, out); if symmetric, both of both views, (B, 4, out)."""
        queries = [self.student(views[q]) for q, _ in self.config.pairs]
        return torch.stack(queries + [self.teacher(views[k]) for _, k in self.config.pairs], dim=1)

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Score each query with its key and the other keys of the global batch."""
        queries, keys = embeddings.chunk(2, dim=1)
        return self.combine_directions([self.compute_loss(queries[:, i], keys[:, i]) for i in range(queries.shape[1])])

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder."""
        self.teacher.update(self.student, progress)
