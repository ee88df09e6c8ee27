"""Methods that contrast the embeddings of one batch."""

import torch
from torch import Tensor, nn

from sslzoo.losses import Loss
from sslzoo.method.base import MethodOutput
from sslzoo.method.pair import PairMethod
from sslzoo.modules.heads import Encoder
from sslzoo.targets import Target


class InBatchMethod(PairMethod):
    """A method whose forward pass is `contrast` of `embed`: embeddings of single images, then all of the batch.

    Everything trained is in `embed`, so a batch may be embedded in chunks (`sslzoo.train.gradient_cache`).
    """

    def __init__(
        self, config: PairMethod.Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0
    ) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def forward(
        self, views: list[Tensor], sample_ids: Tensor, labels: Tensor | None = None, gradient: Tensor | None = None
    ) -> MethodOutput:
        """Loss of one batch.

        Args:
            labels: (B,) int64, -1 where there is none; for supervised methods.
            gradient: of the loss by the embeddings, where it is known; the loss returned has that gradient.
        """
        embeddings = self.embed(views)
        if gradient is None:
            return self.contrast(embeddings, labels)
        return MethodOutput((embeddings.float() * gradient).sum(), {}, embeddings.detach().flatten(1))

    def embed(self, views: list[Tensor]) -> Tensor:
        """Embeddings (B, V, D) of each image's V views, not normalized."""
        return torch.stack([self.student(view) for view in views], dim=1)

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Loss of this process's images, from embeddings (B, V, D) and, for supervised methods, labels (B,)."""
        raise NotImplementedError
