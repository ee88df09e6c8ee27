"""Prototypes: vectors that embeddings are compared with, instead of with each other."""

import math

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.method.base import disable_autocast
from sslzoo.method.multi_crop import MultiCrop


def compute_similarities(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """Compute dot products (..., K) of embeddings (..., D) and prototypes (K, D), in float32 under any autocast."""
    with disable_autocast(embeddings.device):
        return embeddings.float() @ prototypes.float().T


class Prototypes(nn.Module):
    """K trained prototypes, a linear layer without bias; initially random unit vectors."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute dot products (..., K), float32, of embeddings (..., D)."""
        return compute_similarities(embeddings, self.weight)

    @torch.no_grad()
    def normalize(self) -> None:
        """Normalize the prototypes to unit length, after an optimizer step."""
        self.weight.copy_(F.normalize(self.weight, dim=1))


class WeightNormedPrototypes(Prototypes):
    """Prototypes with weight normalization to unit length; embeddings are normalized too.

    Source: Salimans and Kingma, NeurIPS 2016 (arXiv 1602.07868).
    """

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute cosine similarities (..., K), float32, of embeddings (..., D)."""
        return compute_similarities(F.normalize(embeddings.float(), dim=-1), F.normalize(self.weight, dim=1))


class PrototypeMethod(MultiCrop):
    """Base class of multi-crop methods with trained prototypes, which are frozen at the start of training."""

    class Config(MultiCrop.Config):
        prototypes: PositiveInt = 3000
        """K, the number of prototypes."""
        temperature: PositiveFloat = 0.1
        """Temperature of the student's prediction."""
        freeze_epochs: NonNegativeFloat = 1
        """Number of epochs at the start in which the prototypes are frozen."""

    config: Config
    prototypes: Prototypes

    def begin(self, id_bound: int | None, epochs: int) -> None:
        """Store the number of epochs."""
        self.epochs = epochs

    def trivial_loss(self) -> float:
        """Return log K, the loss if all predictions are uniform."""
        return math.log(self.config.prototypes)

    def before_step(self, progress: float) -> None:
        """Drop the gradient of frozen prototypes, so that neither momentum nor weight decay changes them."""
        if progress < self.config.freeze_epochs / self.epochs:
            self.prototypes.zero_grad(set_to_none=True)


def measure_spread(targets: Tensor) -> dict[str, Tensor]:
    """Measure whether targets have collapsed.

    Args:
        targets: (..., K), rows sum to 1.

    Returns:
        `certainty` (), the mean of 1 - H / log K with the entropy H of each target; 0 if all targets are uniform.
        `prototypes_used` (), the exponential of the entropy of the mean target; 1 if all images share one prototype.
    """
    rows = targets.flatten(0, -2)
    used = torch.exp(torch.special.entr(rows.mean(dim=0)).sum())
    uncertainty = torch.special.entr(rows).sum(dim=1).mean() / math.log(max(2, rows.shape[1]))
    return {"certainty": 1 - uncertainty, "prototypes_used": used}
