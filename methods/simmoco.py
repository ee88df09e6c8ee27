"""SimMoCo: MoCo without a queue."""

from torch import Tensor, nn

from sslzoo.losses import Loss
from sslzoo.method import METHODS, MethodOutput
from sslzoo.targets import Target
from sslzoo.teacher import MomentumConfig, Teacher

from .simco import SimCo


@METHODS.register("simmoco")
class SimMoCo(SimCo):
    """A query finds the momentum encoder's key of its picture among the other keys of the global batch."""

    class Config(MomentumConfig, SimCo.Config):
        symmetric: bool = False
        """Let each view be query and key in turn, and average both losses."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Queries of view 0 against keys of view 1; when symmetric, the other way round as well."""
        pairs = self.config.pairs
        return MethodOutput.mean([self.match(self.student(views[q]), self.teacher(views[k])) for q, k in pairs])

    def after_step(self, progress: float) -> None:
        """The momentum encoder follows."""
        self.teacher.update(self.student, progress)
