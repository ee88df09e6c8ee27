"""Directions that embeddings are compared with instead of with each other."""

import math

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.method.base import disable_autocast
from sslzoo.method.multi_crop import MultiCrop


def similarities(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """(..., D) and (K, D) to their dot products (..., K), in float32 whatever autocast."""
    with disable_autocast(embeddings.device):
        return embeddings.float() @ prototypes.float().T


class Prototypes(nn.Module):
    """`count` trained vectors, a linear layer without bias; they begin as random unit vectors."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(..., dim) to dot products (..., count), float32."""
        return similarities(embeddings, self.weight)

    @torch.no_grad()
    def normalize(self) -> None:
        """Make them unit vectors again, after an optimizer step."""
        self.weight.copy_(F.normalize(self.weight, dim=1))


class WeightNormedPrototypes(Prototypes):
    """Prototypes whose length never matters: weight normalization (Salimans and Kingma, NeurIPS 2016) of length 1.

    Embeddings are made unit vectors as well.
    """

    def forward(self, embeddings: Tensor) -> Tensor:
        """(..., dim) to cosine similarities (..., count), float32."""
        return similarities(F.normalize(embeddings.float(), dim=-1), F.normalize(self.weight, dim=1))


class PrototypeMethod(MultiCrop):
    """A multi-crop method with one set of trained prototypes, which stay as they are at the start of training."""

    class Config(MultiCrop.Config):
        prototypes: PositiveInt = 3000
        """K, number of prototypes."""
        temperature: PositiveFloat = 0.1
        """Of the student's prediction."""
        freeze_epochs: NonNegativeFloat = 1
        """Epochs at the start in which prototypes stay as they are."""

    config: Config
    prototypes: Prototypes

    def begin(self, id_bound: int | None, epochs: int) -> None:
        """Keep the length of training."""
        self.epochs = epochs

    def before_step(self, progress: float) -> None:
        """Withhold the gradient of frozen prototypes, so that neither momentum nor weight decay moves them."""
        if progress < self.config.freeze_epochs / self.epochs:
            self.prototypes.zero_grad(set_to_none=True)


def spread(targets: Tensor) -> dict[str, Tensor]:
    """Whether targets collapse: logged as () `certainty` and `prototypes_used`.

    Certainty is 1 - H / log K of an image's target on the mean, 0 where all are uniform. The prototypes used are
    the exponential of the entropy of the mean target, 1 where all images share one.

    Args:
        targets: (..., K), rows sum to 1.
    """
    rows = targets.flatten(0, -2)
    used = torch.exp(torch.special.entr(rows.mean(dim=0)).sum())
    uncertainty = torch.special.entr(rows).sum(dim=1).mean() / math.log(max(2, rows.shape[1]))
    return {"certainty": 1 - uncertainty, "prototypes_used": used}
