"""The interface of a target, and the registry of targets."""

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

import sslzoo.config
from sslzoo.config.registry import Registry


class TargetOutput(NamedTuple):
    """The result of `Target.forward`."""

    weights: Tensor
    """(B, 1 + M), non-negative; column 0 is the positive, and rows sum to 1."""
    logs: dict[str, Tensor]
    """() scalars, means over the batch, for the progress line and metrics.jsonl."""


class Target(nn.Module):
    """Base class of targets: computes, from the teacher's similarities, how much weight each pair should get.

    A subclass defines `forward`. The class attributes declare which methods and losses the target can be combined with.
    """

    name: ClassVar[str]
    """Name in the registry; `TARGETS.register` sets it."""
    paper: ClassVar[str] = ""
    """Source, such as "Authors, venue (arXiv id), equation"; `list` and `describe` show it."""
    soft: ClassVar[bool] = True
    """Whether candidates can get weight; if false, a loss that scores the positive only is compatible."""
    positive: ClassVar[bool] = True
    """Whether the positive gets weight; if false, the loss must score the candidates only."""
    supervised: ClassVar[bool] = False
    """Whether similarities are those of labels: 1 for the same class. The method must then be supervised."""
    default_loss: ClassVar[str | None] = None
    """Name of the loss to use if the method's own loss is incompatible; None for softmax cross-entropy."""

    class Config(sslzoo.config.PartConfig):
        """Settings of the target; each field is a flag `--target.*` with its docstring as help."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute the weights of B anchors; the caller disables gradients.

        Args:
            positive: (B,) float32, the teacher's cosine similarity of each key and its positive.
            candidates: (B, M) float32, the teacher's cosine similarities of each key and M candidates.

        Returns:
            Weights (B, 1 + M), and scalars to log. A row depends on its own anchor only.
        """
        raise NotImplementedError


TARGETS: Registry[type[Target]] = Registry("target", base=Target)
