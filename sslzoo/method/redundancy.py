"""Base of methods whose loss depends on the dimensions of a batch of embeddings, not on pairs of images."""

import torch
from torch import Tensor, nn

from sslzoo.method.base import Method, MethodOutput, disable_autocast
from sslzoo.modules.heads import Encoder, HeadConfig
from sslzoo.runtime.distributed import gather_with_gradient


class RedundancyMethod(Method):
    """Embeds every view with the student; `score` is the loss of the embeddings of all processes."""

    class Config(Method.Config):
        projector: HeadConfig = HeadConfig(layers=3, hidden=8192, out=8192, norm="batch")
        """Head on the backbone."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """The loss of the global batch, in float32."""
        embeddings = [self.student(view).float() for view in views]
        with disable_autocast(embeddings[0].device):
            loss, logs = self.score([gather_with_gradient(each) for each in embeddings])
        logs = {name: value.detach() for name, value in logs.items()}
        return MethodOutput(loss, logs, torch.cat(embeddings).detach())

    def score(self, embeddings: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and what to log.

        Args:
            embeddings: (B, D) float32 for each view, row i of each from the same image.
        """
        raise NotImplementedError


def standardize(embeddings: Tensor, eps: float = 1e-5) -> Tensor:
    """(..., B, D): each dimension with mean 0 and variance 1 over the batch, as batch norm does it in training."""
    centered = embeddings - embeddings.mean(dim=-2, keepdim=True)
    return centered * (centered.square().mean(dim=-2, keepdim=True) + eps).rsqrt()


def off_diagonal(matrix: Tensor) -> Tensor:
    """(D, D) with a diagonal of zeros."""
    return matrix - torch.diag(matrix.diagonal())
