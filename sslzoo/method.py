"""The interface that every method implements, and the part that is common to methods with pairs."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

import sslzoo.config
from sslzoo.heads import Encoder
from sslzoo.losses import Loss
from sslzoo.registry import Registry
from sslzoo.targets import Target


class MethodOutput(NamedTuple):
    """What a forward pass hands to the training loop."""

    loss: Tensor
    """() float32, the mean over this process's anchors."""
    logs: dict[str, Tensor]
    """Scalars without gradient."""
    embeddings: Tensor
    """(B, D) of the student, without gradient: what the collapse monitor looks at."""
    keys: Tensor | None = None
    """What `after_batch` needs, without gradient."""


class Method(nn.Module):
    """A framework: turns views into a loss, and keeps its own teacher, bank and other state."""

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    default_target: ClassVar[str | None] = None
    """Name of the target that the method comes with; None for a method without pairs, which takes no target."""
    losses: ClassVar[tuple[str, ...]] = ()
    """Names of the losses that make sense here, the usual one first; empty for a method with a loss of its own."""

    student: Encoder
    """Backbone and projector, trained."""

    class Config(sslzoo.config.PartConfig):
        """Settings of the method, shown as `--method.*`."""

        views: tuple[str, ...] = ("strong", "strong")
        """The view recipe of each input, in the order that the method takes them."""

        @property
        def splits(self) -> int:
            """Number of groups that a batch must divide into."""
            return 1

        @property
        def directions(self) -> str:
            """How views are paired, for the record: one-directional or symmetric."""
            return "one-directional"

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Loss of one batch; the only call that is wrapped for several processes.

        Args:
            views: one (B, C, H, W) tensor for each of `config.views`.
            sample_ids: (B,) numbers of the pictures in their data set.
        """
        raise NotImplementedError

    def after_batch(self, output: MethodOutput) -> None:
        """Called after each backward pass."""

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step, at a share of training in [0, 1]."""


class PairMethod(Method):
    """A method whose loss scores similarities of pairs against a target's weights."""

    default_target = "one-hot"
    losses = ("cross-entropy",)

    def __init__(
        self, config: Method.Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0
    ) -> None:
        super().__init__(config, backbone, seed=seed)
        self.target = target
        self.loss = loss

    def score(
        self,
        student_positive: Tensor,
        student_candidates: Tensor,
        teacher_positive: Tensor,
        teacher_candidates: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of B anchors, and the target's logs.

        Args:
            student_positive: (B,) cosine similarities, with gradient.
            student_candidates: (B, M) likewise.
            teacher_positive: (B,), without gradient.
            teacher_candidates: (B, M), without gradient.
        """
        with torch.no_grad():
            weights, logs = self.target(teacher_positive, teacher_candidates)
        student = torch.cat([student_positive[:, None], student_candidates], dim=1)
        return self.loss(student, weights).mean(), logs


def full_precision(device: torch.device) -> torch.autocast:
    """Context in which autocast is off: a temperature of 0.04 in bf16 would lose the ranking of similarities."""
    return torch.autocast(device.type, enabled=False)


METHODS: Registry[type[Method]] = Registry("method")
