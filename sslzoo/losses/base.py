"""The interface of a loss, and the registry of losses."""

from typing import ClassVar

from torch import Tensor, nn

import sslzoo.config
from sslzoo.config.registry import Registry


class Loss(nn.Module):
    """Scores the student's similarities against weights."""

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    soft: ClassVar[bool] = True
    """Whether it takes weights on candidates, and not on the positive alone."""
    positive: ClassVar[bool] = True
    """Whether it scores the positive; otherwise the candidates alone, and weights must all be theirs."""
    repels: ClassVar[bool] = True
    """Whether it pushes pairs without weight apart; a loss that only attracts needs a method with a predictor."""
    couples_rows: ClassVar[bool] = False
    """Whether an anchor's loss depends on the other anchors. Such a loss is computed for all anchors at once, never in
    chunks of rows."""

    class Config(sslzoo.config.PartConfig):
        """Settings of the loss, shown as `--loss.*`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Loss of each anchor, (B,).

        Args:
            student: (B, 1 + M) float32, the student's cosine similarities; column 0 is the positive.
            weights: (B, 1 + M), rows sum to 1.
        """
        raise NotImplementedError


LOSSES: Registry[type[Loss]] = Registry("loss", group="sslzoo.losses", base=Loss)
