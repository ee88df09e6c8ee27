"""Linear probes on cached features, a whole grid of settings trained as one batched head."""

import itertools
import math

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from sslzoo.config import Config
from sslzoo.counter import permutation


class LinearGrid(Config):
    """Settings that the linear probe is tried with."""

    learning_rates: tuple[float, ...] = Field((0.01, 0.03, 0.1, 0.3, 1.0), min_length=1)
    """Learning rates at the start, for features of unit variance; each falls to 0 along a cosine."""
    weight_decays: tuple[float, ...] = Field((0.0, 1e-4, 1e-3), min_length=1)
    """Weight decays of the weights; biases have none."""
    epochs: PositiveInt = 100
    """Passes over the labelled features."""
    batch_size: PositiveInt = 256
    """Features of one step."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov's momentum."""

    def settings(self) -> list[dict[str, float]]:
        """Every pair of learning rate and weight decay, in the order of the heads."""
        pairs = itertools.product(self.learning_rates, self.weight_decays)
        return [{"lr": lr, "weight_decay": decay} for lr, decay in pairs]


class LinearHeads:
    """H linear classifiers on standardised features, side by side as one matrix.

    Features are standardised by mean and variance of the features that were fitted: a batch norm without
    parameters, as probes since MoCo v3 have it, so that one grid of learning rates serves every encoder.
    """

    def __init__(self, features: Tensor, classes: int, heads: int) -> None:
        deviation = features.std(dim=0, correction=0)
        self.mean = features.mean(dim=0)
        self.scale = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 0.0)
        self.weight = features.new_zeros(features.shape[1], heads, classes)
        self.bias = features.new_zeros(heads, classes)

    def standardise(self, features: Tensor) -> Tensor:
        """(N, D) to zero mean and unit variance; a feature that never varied becomes 0."""
        return (features - self.mean) * self.scale

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) features to (N, H, classes)."""
        return self.scores(self.standardise(features))

    def scores(self, x: Tensor) -> Tensor:
        """(N, D) standardised features to logits (N, H, classes), by one matrix product."""
        return (x @ self.weight.flatten(1)).view(-1, *self.bias.shape) + self.bias


@torch.no_grad()
def fit_linear(features: Tensor, labels: Tensor, *, classes: int, grid: LinearGrid, seed: int) -> LinearHeads:
    """Train one head for every setting of the grid, all on the same batches.

    SGD with Nesterov's momentum from weights of zero on the mean cross-entropy; the heads do not interact.

    Args:
        features: (N, D) float32.
        labels: (N,) int64.
        seed: of the order of the features.
    """
    settings = grid.settings()
    heads = LinearHeads(features, classes, len(settings))
    lr = features.new_tensor([s["lr"] for s in settings])[:, None]
    decay = features.new_tensor([s["weight_decay"] for s in settings])[:, None]
    x = heads.standardise(features)
    y = F.one_hot(labels, classes).to(x.dtype)[:, None]
    batches = [part for _ in range(grid.epochs) for part in range(0, len(x), grid.batch_size)]
    velocity_w, velocity_b = torch.zeros_like(heads.weight), torch.zeros_like(heads.bias)
    for step, first in enumerate(batches):
        if first == 0:
            order = permutation(len(x), seed, step, device=x.device)
        chosen = order[first : first + grid.batch_size]
        error = (heads.scores(x[chosen]).softmax(dim=2) - y[chosen]) / len(chosen)
        gradient_w = (x[chosen].T @ error.flatten(1)).view_as(heads.weight) + decay * heads.weight
        gradient_b = error.sum(dim=0)
        rate = lr * (1 + math.cos(math.pi * step / len(batches))) / 2
        for value, velocity, gradient in (
            (heads.weight, velocity_w, gradient_w),
            (heads.bias, velocity_b, gradient_b),
        ):
            velocity.mul_(grid.momentum).add_(gradient)
            value.sub_(rate * (gradient + grid.momentum * velocity))
    return heads
