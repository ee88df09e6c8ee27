"""Contrastive Learning with Stronger Augmentations."""

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.modules.chunked import Scored

from .moco import MoCo


@METHODS.register("clsa")
class CLSA(MoCo):
    """MoCo with a third, stronger view, which should match the query's similarities to the key and the older keys.

    loss - beta sum_j p_j log p'_j, where p and p' are the softmax of the query's and of the stronger view's
    similarities over [key, queue]; p carries no gradient. The paper draws the stronger view by RandAugment, several of
    14 operations at random strength; the augmentation `stronger` applies the operations that `Augmentation` has
    (crop, rotation, colors, blur, solarization), all of them at once, so it differs from the paper's.
    """

    paper = "Wang and Qi, 2021 (arXiv 2104.07713)"

    class Config(MoCo.Config):
        views: tuple[str, str, str] = ("strong", "strong", "stronger")  # type: ignore[assignment]  # one more than MoCo
        """Augmentations of query, key and stronger view."""
        divergence: NonNegativeFloat = 1.0
        """beta, the weight of the term of the stronger view; 0 is MoCo."""
        divergence_temperature: PositiveFloat = 0.2
        """Temperature of the softmax over key and queue, of query and stronger view alike."""

    config: Config

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """MoCo of views 0 and 1, and view 2 against the same keys; when symmetric, against both views' keys."""
        query, key = self.encode(views)
        output = self.contrast(query, key)
        stronger = self.encode_queries(views[2]).repeat(len(self.config.pairs), 1)
        divergence = self.diverge(query.detach(), stronger, key)
        loss = output.loss + self.config.divergence * divergence
        return output._replace(loss=loss, logs=output.logs | {"divergence": divergence.detach()})

    def diverge(self, query: Tensor, stronger: Tensor, key: Tensor) -> Tensor:
        """Mean cross-entropy of queries (A, out) and stronger views (A, out) over keys (A, out) and queue, float32."""
        with disable_autocast(query.device):
            query, stronger, key = (F.normalize(embedding.float()) for embedding in (query, stronger, key))
            loss, _ = self.score_in_chunks(self.diverge_rows, query, stronger, key, candidates=len(self.queue.keys))
            return loss

    def diverge_rows(self, query: Tensor, stronger: Tensor, key: Tensor) -> Scored:
        """The same for some anchors."""
        target, prediction = (
            torch.cat([(anchor * key).sum(dim=1, keepdim=True), anchor @ self.queue.keys.T], dim=1)
            / self.config.divergence_temperature
            for anchor in (query, stronger)
        )
        return F.cross_entropy(prediction, target.softmax(dim=1)), {}
