"""The interface of a target, and the registry of targets."""

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

import sslzoo.config
from sslzoo.config.registry import Registry


class TargetOutput(NamedTuple):
    """Weights of the pairs, and what a monitor may show."""

    weights: Tensor
    """(B, 1 + M), rows sum to 1; column 0 is the positive."""
    logs: dict[str, Tensor]
    """Scalars, means over the batch."""


class Target(nn.Module):
    """Turns the teacher's similarities into weights that the student's prediction is scored against."""

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    soft: ClassVar[bool] = True
    """Whether candidates may get weight."""
    positive: ClassVar[bool] = True
    """Whether the positive gets weight; a target without it goes with losses over the candidates alone."""
    supervised: ClassVar[bool] = False
    """Whether the similarities that it takes are those of labels; it goes with methods that are given labels."""
    default_loss: ClassVar[str | None] = None
    """Name of the loss that it needs where the method's own does not do; None where that does."""

    class Config(sslzoo.config.PartConfig):
        """Settings of the target, shown as `--target.*`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """The weights; no gradient goes through them.

        Args:
            positive: (B,) float, the teacher's cosine similarity of each anchor's key and its positive.
            candidates: (B, M) float, the teacher's cosine similarities of each key and the candidates.
        """
        raise NotImplementedError


TARGETS: Registry[type[Target]] = Registry("target", base=Target)
