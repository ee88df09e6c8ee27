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
    """BYOL's prediction finds the key and, as much as attention says, the key's neighbors among older keys.

    Every image of the global batch brings its key and the key's neighbors; a prediction is scored against all of
    them, and its target sees its own: the similarities of its embedding, before the predictor, to the neighbors.
    Unlike in the authors' code no gradient goes through this attention, and the loss is not multiplied by 4 t.
    """

    paper = "Ge et al., ICLR 2023 (OpenReview l9vM_PaUKz)"
    default_target = "soft-neighbors"
    default_loss = "cross-entropy"

    class Config(MSF.Config):
        views: tuple[str, str] = ("strong", "strong")
        """Augmentations of query and key."""
        symmetric: bool = True
        """Predict each view from the other; otherwise view 1 from view 0 alone."""
        momentum_end: float | None = Field(1.0, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps it constant."""
        neighbors: PositiveInt = 30
        """Older keys that each key brings as candidates; the target's neighbors are among them."""

    config: Config

    def compute_loss(self, embedding: Tensor, key: Tensor) -> MethodOutput:
        """Predictions from embeddings (B, out) against keys (B, out) and neighbors of the whole global batch."""
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
        """Similarities of queries (B, D) to the blocks (B, 1 + K, D) of all N images, (B, N (1 + K)), own first."""
        blocks = gather(block)
        similarities = torch.einsum("bd,nkd->bnk", query, blocks)
        from_own = find_local_rows(len(query), query.device)[:, None] + torch.arange(len(blocks), device=query.device)
        return similarities.take_along_dim((from_own % len(blocks))[:, :, None], dim=1).flatten(1)
