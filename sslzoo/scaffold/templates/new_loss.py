"""A custom loss: scores the student's similarities against the target's weights."""

from pydantic import PositiveFloat
from sslzoo import LOSSES, Loss
from torch import Tensor


@LOSSES.register("new-loss")
class NewLoss(Loss):
    """Cross-entropy of the weights and the student's softmax over the similarities."""

    paper = ""  # "Authors, venue (arXiv id), equation", which list and describe show

    class Config(Loss.Config):
        """Each field is a flag, `--loss.temperature`, with its docstring as help."""

        temperature: PositiveFloat = 0.1
        """Temperature of the student's softmax."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Loss of each anchor, (B,).

        Args:
            student: (B, 1 + M) cosine similarities, the positive's first.
            weights: (B, 1 + M) from the target; rows sum to 1.
        """
        logits = student / self.config.temperature
        return -(weights * logits.log_softmax(dim=1)).sum(dim=1)
