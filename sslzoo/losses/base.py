"""The interface of a loss, and the registry of losses."""

from typing import ClassVar

from torch import Tensor, nn

import sslzoo.config
from sslzoo.config.registry import Registry


class Loss(nn.Module):
    """Base class of losses: scores the student's similarities against the weights of a target.

    A subclass defines `forward`. The class attributes declare which methods and targets the loss can be combined with.
    """

    name: ClassVar[str]
    """Name in the registry; `LOSSES.register` sets it."""
    paper: ClassVar[str] = ""
    """Source, such as "Authors, venue (arXiv id), equation"; `list` and `describe` show it."""
    soft: ClassVar[bool] = True
    """Whether the loss uses the weights of candidates; if false, it scores the positive only."""
    positive: ClassVar[bool] = True
    """Whether the loss scores the positive; if false, the target must give all weight to candidates."""
    repels: ClassVar[bool] = True
    """Whether the loss pushes pairs without weight apart; if false, the method must have a predictor."""
    couples_rows: ClassVar[bool] = False
    """Whether the loss of an anchor depends on the other anchors. Such a loss is computed for all anchors at once, not
    in chunks of rows."""

    class Config(sslzoo.config.PartConfig):
        """Settings of the loss; each field is a flag `--loss.*` with its docstring as help."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss (B,) of each anchor.

        Args:
            student: (B, 1 + M) float32, cosine similarities of each query; column 0 is the positive.
            weights: (B, 1 + M) float32 without gradient; rows sum to 1.
        """
        raise NotImplementedError


LOSSES: Registry[type[Loss]] = Registry("loss", group="sslzoo.losses", base=Loss)
