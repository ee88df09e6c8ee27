"""Soft Neighbors are Positive Supporters in Contrastive Visual Representation Learning."""

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.method.pair import find_local_rows
from sslzoo.runtime.distributed import gather

from .msf import MSF


@METHODS.register("snclr")
class SNCLR(MSF):
    """BYOL's prediction matches the key and, weighted by attention, the key's neighbors among older keys.

    The candidates of all predictions are the keys of the global batch and the neighbors of each key. The target of a
    prediction is computed from the similarities of its embedding, before the predictor, to its own key and neighbors.

    Differences from the authors' code (ChongjianGE/SNCLR, `snclr/builder_snclr_factor.py`): the attention has no
    gradient, and the loss is not multiplied by 4 t, that is 2 t times the sum 2 of the authors' weights.
    """

    paper = "Ge et al., ICLR 2023 (OpenReview l9vM_PaUKz)"
    default_target = "soft-neighbors"
    default_loss = "cross-entropy"

    class Config(MSF.Config):
        views: tuple[str, str] = ("strong", "strong")
        """Augmentations of query and key."""
        symmetric: bool = True
        """Predict each view from the other; otherwise only view 1 from view 0."""
        momentum_end: float | None = Field(1.0, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps m constant."""
        neighbors: PositiveInt = 30
        """Number of older keys that are candidates for each key; an upper bound of the target's neighbors."""

    config: Config

    def compute_loss(self, embedding: Tensor, key: Tensor) -> MethodOutput:
        """Score predictions from embeddings (B, out) with the keys (B, out) and neighbors of the global batch."""
        prediction = self.predictor(embedding)
        with disable_autocast(key.device):
            query, key = F.normalize(prediction.float()), F.normalize(key.float())
            embedding = F.normalize(embedding.detach().float())
            block = torch.cat([key[:, None], self.queue.nearest(key, self.config.neighbors)], dim=1)
            attention = torch.einsum("bd,bkd->bk", embedding, block)
            weights, logs = self.target(attention[:, 0], attention[:, 1:])
            student = self.compare(query, block)
            weights = F.pad(weights, (0, student.shape[1] - weights.shape[1]))
            return MethodOutput(self.loss(student, weights).mean(), logs, embedding, key)

    def compare(self, query: Tensor, block: Tensor) -> Tensor:
        """Compare queries (B, D) with the blocks (B, 1 + K, D) of all N images: (B, N (1 + K)), own block first."""
        blocks = gather(block)
        similarities = torch.einsum("bd,nkd->bnk", query, blocks)
        from_own = find_local_rows(len(query), query.device)[:, None] + torch.arange(len(blocks), device=query.device)
        return similarities.take_along_dim((from_own % len(blocks))[:, :, None], dim=1).flatten(1)
