"""Linear probes: a grid of settings is trained at once as one batched head."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluation.classifier import FeatureClassifier
from sslzoo.experiment.evaluation import LinearGrid
from sslzoo.runtime.counter_rng import permutation

QUERIES_AT_ONCE = 4096
"""Number of queries that are classified at once."""


class Standardizer:
    """Standardizes features by mean and variance of reference features, like batch norm without parameters (MoCo v3).

    A constant feature becomes 0.

    Args:
        features: reference features (N, D).
        active: False leaves features unchanged.
    """

    def __init__(self, features: Tensor, *, active: bool = True) -> None:
        deviation = features.std(dim=0, correction=0)
        self.mean = features.mean(dim=0) if active else torch.zeros_like(deviation)
        scale = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 0.0)
        self.scale = scale if active else torch.ones_like(deviation)

    def __call__(self, features: Tensor) -> Tensor:
        """Standardize features (N, D)."""
        return (features - self.mean) * self.scale


class LinearHeads:
    """H independent linear classifiers in one weight matrix, trained by SGD with Nesterov momentum from zero weights.

    The loss of each head is the mean cross-entropy.

    Args:
        width: dimension D of the features.
        classes: number of classes.
        grid: settings of the heads.
    """

    def __init__(self, width: int, classes: int, grid: LinearGrid, device: torch.device) -> None:
        settings = grid.settings()
        self.grid, self.classes = grid, classes
        self.weight = torch.zeros(width, len(settings), classes, device=device)
        self.bias = torch.zeros(len(settings), classes, device=device)
        self._lr = torch.tensor([s["lr"] for s in settings], device=device)[:, None]
        self._decay = torch.tensor([s["weight_decay"] for s in settings], device=device)[:, None]
        self._velocity = torch.zeros_like(self.weight), torch.zeros_like(self.bias)

    def state(self) -> list[Tensor]:
        """Return the tensors from which training resumes: weights, biases and momentum."""
        return [self.weight, self.bias, *self._velocity]

    def load_state(self, state: list[Tensor]) -> None:
        """Copy a state into the heads."""
        for tensor, saved in zip(self.state(), state, strict=True):
            tensor.copy_(saved)

    def logits(self, features: Tensor) -> Tensor:
        """Compute the logits (N, H, classes) of features (N, D)."""
        return (features @ self.weight.flatten(1)).view(-1, *self.bias.shape) + self.bias

    def step(self, features: Tensor, labels: Tensor, progress: float) -> None:
        """Run an SGD step on a batch (N, D) with labels (N,), at this progress of training in [0, 1)."""
        error = self.logits(features).softmax(dim=2) - F.one_hot(labels, self.classes).to(features.dtype)[:, None]
        error /= len(features)
        gradient_w = (features.T @ error.flatten(1)).view_as(self.weight) + self._decay * self.weight
        rate, momentum = self._lr * self.learning_rate_factor(progress), self.grid.momentum
        for value, velocity, gradient in zip(
            (self.weight, self.bias), self._velocity, (gradient_w, error.sum(dim=0)), strict=True
        ):
            velocity.mul_(momentum).add_(gradient)
            value.sub_(rate * (gradient + momentum * velocity))

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor of the learning rates: steps at milestones, or cosine decay."""
        if self.grid.milestones:
            return float(0.1 ** sum(progress >= milestone for milestone in self.grid.milestones))
        return (1 + math.cos(math.pi * progress)) / 2


@torch.no_grad()
def fit_linear(features: Tensor, labels: Tensor, *, classes: int, grid: LinearGrid, seed: int) -> LinearHeads:
    """Train one head for every setting of the grid, all on the same batches.

    Args:
        features: (N, D) float32; the caller standardizes them.
        labels: (N,) int64.
        seed: seed of the order of the features.
    """
    heads = LinearHeads(features.shape[1], classes, grid, features.device)
    batches = [first for _ in range(grid.epochs) for first in range(0, len(features), grid.batch_size)]
    for step, first in enumerate(batches):
        if first == 0:
            order = permutation(len(features), seed, step, device=features.device)
        chosen = order[first : first + grid.batch_size]
        heads.step(features[chosen], labels[chosen], step / len(batches))
    return heads


class LinearProbe(FeatureClassifier):
    """Linear probe on features that are extracted once."""

    def __init__(self, train: Tensor, labels: Tensor, test: Tensor, classes: int, grid: LinearGrid, seed: int) -> None:
        super().__init__(train, labels, test, classes)
        self.grid, self.seed = grid, seed
        self.settings = grid.settings()

    def compute_scores(
        self, features: Tensor, labels: Tensor, queries: Tensor, settings: list[dict[str, float]]
    ) -> Iterator[Tensor]:
        grid = self.grid if settings == self.settings else select_setting(self.grid, settings[0])
        standardize = Standardizer(features, active=grid.standardize)
        heads = fit_linear(standardize(features), labels, classes=self.classes, grid=grid, seed=self.seed)
        for part in torch.split(queries, QUERIES_AT_ONCE):
            yield heads.logits(standardize(part)).transpose(0, 1)


def select_setting(grid: LinearGrid, setting: dict[str, float]) -> LinearGrid:
    """Return a grid with only one of its settings."""
    return grid.model_copy(
        update={"learning_rates": (setting["lr"],), "weight_decays": (setting["weight_decay"],)}
    )  # fmt: skip
