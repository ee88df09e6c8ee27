"""All4One: Symbiotic Neighbor Contrastive Learning via Self-Attention and Redundancy Reduction."""

from typing import Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.method.pair import find_local_rows
from sslzoo.modules.heads import Head
from sslzoo.modules.momentum import MomentumConfig, Teacher
from sslzoo.runtime.distributed import gather_with_gradient, sum_with_gradient
from sslzoo.targets import Target

from .nnclr import NNCLR


@METHODS.register("all4one")
class All4One(NNCLR):
    """NNCLR with a momentum encoder, a contrastive loss of centroids, and decorrelated features.

    A transformer maps the neighbors of the key to a centroid. The positive is the centroid of the other view's
    prediction followed by that view's neighbors; the negatives are those of the other images.

    Differences from the authors' code (solo-learn, `solo/methods/all4one.py`): no dropout, so that processes agree;
    positions are counted along the neighbors; one learning rate for all parameters.
    """

    paper = "Estepa et al., ICCV 2023 (arXiv 2303.09417), section 3"

    class Config(MomentumConfig, NNCLR.Config):
        momentum_end: float | None = Field(1.0, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps it constant."""
        neighbors: int = Field(5, ge=2)
        """Number of older keys in a centroid."""
        attention_layers: PositiveInt = 3
        """Layers of the transformer; the width of their feed-forward part is twice that of the embedding."""
        attention_heads: PositiveInt = 8
        """Attention heads of the transformer; must divide the width of the embedding."""
        neighbor_weight: NonNegativeFloat = 0.5
        """Weight of NNCLR's loss."""
        centroid_weight: NonNegativeFloat = 0.5
        """Weight of the loss of centroids."""
        centroid_temperature: PositiveFloat = 0.1
        """Temperature of the loss of centroids."""
        feature_weight: NonNegativeFloat = 5.0
        """Weight of the loss of features."""

        @model_validator(mode="after")
        def _divides(self) -> Self:
            width, heads = self.projector.out, self.attention_heads
            if width % heads or width % 2:
                raise ValueError(f"projector.out = {width}: must be even, and a multiple of attention_heads, {heads}")
            return self

    config: Config
    positions: Tensor

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        width = config.projector.out
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)
        self.centroid_predictor = Head(width, config.predictor)
        layer = nn.TransformerEncoderLayer(width, config.attention_heads, 2 * width, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, config.attention_layers, enable_nested_tensor=False)
        self.register_buffer("positions", sinusoids(config.neighbors, width), persistent=False)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Compute the three losses with view 0 as the anchor and, if symmetric, with view 1."""
        pairs = self.config.pairs
        embeddings, keys = [self.student(view) for view in views], [self.teacher(view) for view in views]
        predictions = [self.centroid_predictor(embedding) for embedding in embeddings]
        output = self.combine_directions([self.compute_loss(keys[a], embeddings[p]) for a, p in pairs])
        with disable_autocast(views[0].device):
            keys = [F.normalize(key.float()) for key in keys]
            neighbors = [self.support_set.nearest(key, self.config.neighbors) for key in keys]
            centroids = [self.contrast(neighbors[a], predictions[p], neighbors[p]) for a, p in pairs]
            centroid = self.reduce_directions(torch.stack(centroids).mean(), len(pairs))
            correlations = [correlate(keys[a], embeddings[p].float()) for a, p in pairs]
            feature = redundancy(torch.stack(correlations))
            seen = torch.cat([F.normalize(embedding.detach().float()) for embedding in embeddings])
        loss = (
            self.config.neighbor_weight * output.loss
            + self.config.centroid_weight * centroid
            + self.config.feature_weight * feature
        )
        logs = {"neighbor_loss": output.loss, "centroid_loss": centroid, "feature_loss": feature}
        return MethodOutput(loss, output.logs | {k: v.detach() for k, v in logs.items()}, seen, keys[0])

    def contrast(self, neighbors: Tensor, prediction: Tensor, others: Tensor) -> Tensor:
        """Compute InfoNCE of the centroids of one view with those of the other.

        Args:
            neighbors: (B, K, out) of the anchor's view.
            prediction: (B, out) from the other view.
            others: (B, K, out) neighbors of the other view.
        """
        shifted = torch.cat([prediction.float()[:, None], others], dim=1)[:, : self.config.neighbors]
        anchor, positive = self.centroid(neighbors), gather_with_gradient(self.centroid(shifted))
        own = find_local_rows(len(anchor), anchor.device)
        return F.cross_entropy(anchor @ positive.T / self.config.centroid_temperature, own)

    def centroid(self, sequence: Tensor) -> Tensor:
        """Return the transformer's first output (B, out), L2-normalized, for sequences (B, K, out)."""
        return F.normalize(self.transformer(sequence + self.positions[: sequence.shape[1]])[:, 0])

    def trivial_loss(self) -> None:
        """Return None: the transformer's centroids are not equal when all embeddings are."""

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder."""
        self.teacher.update(self.student, progress)


def correlate(keys: Tensor, embeddings: Tensor) -> Tensor:
    """Return the cosine similarities (D, D) of the features of (B, D) and (B, D) over the global batch."""
    lengths = sum_with_gradient(torch.stack([keys, embeddings]).square().sum(dim=1)).sqrt().clamp(min=1e-12)
    products = sum_with_gradient(keys.T @ embeddings)
    return products / (lengths[0][:, None] * lengths[1])


def redundancy(correlations: Tensor) -> Tensor:
    """Average two root mean squares of matrices (n, D, D): of the diagonal minus 1, and off the diagonal."""
    width = correlations.shape[-1]
    diagonal = torch.eye(width, device=correlations.device)
    squares = (correlations - diagonal).square().mean(dim=0)
    on = (squares * diagonal).sum() / width
    off = (squares * (1 - diagonal)).sum() / (width * (width - 1))
    return (on.sqrt() + off.sqrt()) / 2


def sinusoids(count: int, width: int) -> Tensor:
    """Return encodings (count, width) of the positions 0 to count - 1, as in Vaswani et al., NeurIPS 2017."""
    rates = 10000 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(count)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
