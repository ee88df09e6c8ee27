"""Base class of methods whose loss depends on statistics of a batch of embeddings, not on pairs of images."""

import torch
from torch import Tensor, nn

from sslzoo.method.base import Method, MethodOutput, disable_autocast
from sslzoo.modules.heads import Encoder, HeadConfig
from sslzoo.runtime.distributed import gather_with_gradient


class RedundancyMethod(Method):
    """Base class of methods that embed all views with the student, and score the embeddings of all processes."""

    class Config(Method.Config):
        projector: HeadConfig = HeadConfig(layers=3, hidden=8192, out=8192, norm="batch")
        """Head on the backbone."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Compute the loss of the global batch, in float32.

        Args:
            views: (B, C, H, W) images for each of `config.views`.
            sample_ids: (B,) int64, ids of the images in their data set.
        """
        embeddings = [self.student(view).float() for view in views]
        with disable_autocast(embeddings[0].device):
            loss, logs = self.score([gather_with_gradient(each) for each in embeddings])
        logs = {name: value.detach() for name, value in logs.items()}
        return MethodOutput(loss, logs, torch.cat(embeddings).detach())

    def score(self, embeddings: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss () and the logs.

        Args:
            embeddings: (B, D) float32 for each view, over all processes; row i of each belongs to the same image.
        """
        raise NotImplementedError

    def trivial_loss(self) -> float | None:
        """Return the loss if all embeddings are zero; called by all processes."""
        device = next(self.student.parameters()).device
        views = [torch.zeros(2, self.config.projector.out, device=device) for _ in self.config.views]
        with torch.no_grad():
            return float(self.score(views)[0])


def standardize(embeddings: Tensor, eps: float = 1e-5) -> Tensor:
    """Standardize each dimension of (..., B, D) to mean 0 and variance 1 over the batch, like batch norm."""
    centered = embeddings - embeddings.mean(dim=-2, keepdim=True)
    return centered * (centered.square().mean(dim=-2, keepdim=True) + eps).rsqrt()


def zero_diagonal(matrix: Tensor) -> Tensor:
    """Return a matrix (D, D) with its diagonal set to zero."""
    return matrix - torch.diag(matrix.diagonal())
