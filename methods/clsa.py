"""Contrastive Learning with Stronger Augmentations."""

import math

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.modules.chunked import Scored
from sslzoo.runtime.distributed import gather

from .moco import MoCo


@METHODS.register("clsa")
class CLSA(MoCo):
    """MoCo with a third, stronger view that matches the query's distribution over all keys.

    The loss of a direction is InfoNCE - beta sum_j p_j log p'_j. p and p' are the softmax of the similarities of the
    query and of the stronger view to the keys of the global batch and the queue; p has no gradient. As in the authors'
    code (maple-research-lab/CLSA, `model/CLSA.py` and `training/train.py`), and unlike in MoCo, the other keys of the
    batch are candidates of both terms, and a symmetric loss is the sum of both directions.

    The paper draws the stronger view by RandAugment, several of 14 operations at random strength. The augmentation
    `stronger` differs: it applies all operations that `Augmentation` has (crop, rotation, colors, blur, solarization).
    """

    paper = "Wang and Qi, 2021 (arXiv 2104.07713)"

    class Config(MoCo.Config):
        views: tuple[str, str, str] = ("strong", "strong", "stronger")  # type: ignore[assignment]  # one more than MoCo
        """Augmentations of query, key and stronger view."""
        divergence: NonNegativeFloat = 1.0
        """beta, weight of the term of the stronger view."""
        divergence_temperature: PositiveFloat = 0.2
        """Temperature of both softmaxes of that term."""

    config: Config

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Score queries of view 0 and the stronger view 2 with keys of view 1 and, if symmetric, the reverse."""
        query, key = self.encode(views)
        stronger = self.encode_queries(views[2])
        count = len(self.config.pairs)
        directions = zip(query.chunk(count), key.chunk(count), strict=True)
        return self.combine_directions([self.contrast_stronger(q, stronger, k) for q, k in directions])

    def contrast_stronger(self, query: Tensor, stronger: Tensor, key: Tensor) -> MethodOutput:
        """Score queries (B, out) and stronger views (B, out) with keys (B, out), in float32."""
        loss, logs = self.score_in_batch(query, key, queue=self.queue.keys)
        divergence = self.diverge(query.detach(), stronger, key)
        loss = loss + self.config.divergence * divergence
        with disable_autocast(query.device):
            query, key = F.normalize(query.detach().float()), F.normalize(key.float())
        return MethodOutput(loss, logs | {"divergence": divergence.detach()}, query, key)

    def trivial_loss(self) -> float | None:
        """Return the loss if all similarities are 1."""
        loss = super().trivial_loss()
        if loss is None or self.candidates is None:
            return None
        count = self.directions if self.config.direction_reduction == "sum" else 1
        return loss + count * self.config.divergence * math.log(1 + self.candidates)

    def diverge(self, query: Tensor, stronger: Tensor, key: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the distributions of stronger views and queries over all keys."""
        with disable_autocast(query.device):
            query, stronger, key = (F.normalize(embedding.float()) for embedding in (query, stronger, key))
            keys = torch.cat([gather(key), self.queue.keys])

            def score(query: Tensor, stronger: Tensor) -> Scored:
                target, prediction = (
                    (rows @ keys.T) / self.config.divergence_temperature for rows in (query, stronger)
                )
                return F.cross_entropy(prediction, target.softmax(dim=1)), {}

            return self.score_in_chunks(score, query, stronger, candidates=len(keys))[0]
