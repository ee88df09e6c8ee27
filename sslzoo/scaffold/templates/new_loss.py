"""A custom loss: scores the student's similarities against the target's weights."""

from pydantic import PositiveFloat
from sslzoo import LOSSES, Loss
from torch import Tensor


@LOSSES.register("new-loss")
class NewLoss(Loss):
    """Cross-entropy of the weights and the student's softmax over the similarities."""

    paper = ""  # "Authors, venue (arXiv id), equation", shown by `list` and `describe`

    class Config(Loss.Config):
        """Each field is a flag, `--loss.temperature`, with its docstring as help."""

        temperature: PositiveFloat = 0.1
        """Temperature of the student's softmax."""

    config: Config

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss of each anchor (B,).

        Args:
            student: cosine similarities (B, 1 + M), the positive first.
            weights: weights of the target (B, 1 + M); rows sum to 1.
        """
        logits = student / self.config.temperature
        return -(weights * logits.log_softmax(dim=1)).sum(dim=1)
