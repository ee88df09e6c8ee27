"""Base class of methods that contrast the embeddings of one batch."""

import torch
from torch import Tensor, nn

from sslzoo.losses import Loss
from sslzoo.method.base import MethodOutput
from sslzoo.method.pair import PairMethod
from sslzoo.modules.heads import Encoder
from sslzoo.targets import Target


class InBatchMethod(PairMethod):
    """Base class of methods that embed images one by one, then contrast the embeddings of the global batch.

    A subclass defines `contrast`, and overrides `embed` if the student alone does not compute the embeddings. `embed`
    uses all trained parameters and `contrast` uses none, so that the batch can be embedded in chunks with
    `--gradient-cache`.
    """

    def __init__(
        self, config: PairMethod.Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0
    ) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def forward(
        self, views: list[Tensor], sample_ids: Tensor, labels: Tensor | None = None, gradient: Tensor | None = None
    ) -> MethodOutput:
        """Compute the loss of a batch.

        Args:
            views: (B, C, H, W) images for each of `config.views`.
            sample_ids: (B,) int64, ids of the images in their data set.
            labels: (B,) int64, -1 for images without a label; for supervised methods only.
            gradient: (B, V, D), known gradient of the loss with respect to the embeddings. The returned loss then has
                this gradient, but not the value of the loss.
        """
        embeddings = self.embed(views)
        if gradient is None:
            return self.contrast(embeddings, labels)
        return MethodOutput((embeddings.float() * gradient).sum(), {}, embeddings.detach().flatten(1))

    def embed(self, views: list[Tensor]) -> Tensor:
        """Compute the embeddings (B, V, D) of the V views of each image, not normalized."""
        return torch.stack([self.student(view) for view in views], dim=1)

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Compute the loss of this process's images against the global batch.

        Args:
            embeddings: (B, V, D), not normalized.
            labels: (B,) int64, -1 for images without a label; for supervised methods only.
        """
        raise NotImplementedError
