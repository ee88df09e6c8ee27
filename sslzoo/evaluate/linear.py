"""Linear probes, a whole grid of settings trained as one batched head."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluate.classifier import FeatureClassifier
from sslzoo.experiment.evaluation import LinearGrid
from sslzoo.runtime.counter_rng import permutation

CHUNK = 4096
"""Queries that are classified at once."""


class Standardizer:
    """Brings features to zero mean and unit variance of those that it was made from, or leaves them as they are.

    A batch norm without parameters, as probes since MoCo v3 have it; a feature that never varied becomes 0.
    """

    def __init__(self, features: Tensor, *, active: bool = True) -> None:
        deviation = features.std(dim=0, correction=0)
        self.mean = features.mean(dim=0) if active else torch.zeros_like(deviation)
        varying = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 0.0)
        self.scale = varying if active else torch.ones_like(deviation)

    def __call__(self, features: Tensor) -> Tensor:
        """(N, D) to (N, D)."""
        return (features - self.mean) * self.scale


class LinearHeads:
    """H linear classifiers side by side as one matrix, trained by SGD with Nesterov's momentum from weights of zero.

    The loss is the mean cross-entropy; the heads do not interact.

    Args:
        width: D of the features.
        device: of the weights.
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
        """State from which training resumes."""
        return [self.weight, self.bias, *self._velocity]

    def load(self, state: list[Tensor]) -> None:
        """Go on from a state."""
        for mine, saved in zip(self.state(), state, strict=True):
            mine.copy_(saved)

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) features to (N, H, classes), by one matrix product."""
        return (features @ self.weight.flatten(1)).view(-1, *self.bias.shape) + self.bias

    def step(self, features: Tensor, labels: Tensor, progress: float) -> None:
        """One step on a batch (N, D) with labels (N,), at a share of training in [0, 1)."""
        error = self.logits(features).softmax(dim=2) - F.one_hot(labels, self.classes).to(features.dtype)[:, None]
        error /= len(features)
        gradient_w = (features.T @ error.flatten(1)).view_as(self.weight) + self._decay * self.weight
        rate, momentum = self._lr * self.schedule(progress), self.grid.momentum
        for value, velocity, gradient in zip(
            (self.weight, self.bias), self._velocity, (gradient_w, error.sum(dim=0)), strict=True
        ):
            velocity.mul_(momentum).add_(gradient)
            value.sub_(rate * (gradient + momentum * velocity))

    def schedule(self, progress: float) -> float:
        """Factor of the learning rates."""
        if self.grid.milestones:
            return float(0.1 ** sum(progress >= milestone for milestone in self.grid.milestones))
        return (1 + math.cos(math.pi * progress)) / 2


@torch.no_grad()
def fit_linear(features: Tensor, labels: Tensor, *, classes: int, grid: LinearGrid, seed: int) -> LinearHeads:
    """Train one head for every setting of the grid, all on the same batches.

    Args:
        features: (N, D) float32, standardized already where that is wanted.
        labels: (N,) int64.
        seed: of the order of the features.
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
    """The linear probe on features that are extracted once."""

    def __init__(self, train: Tensor, labels: Tensor, test: Tensor, classes: int, grid: LinearGrid, seed: int) -> None:
        super().__init__(train, labels, test, classes)
        self.grid, self.seed = grid, seed
        self.settings = grid.settings()

    def scores(
        self, features: Tensor, labels: Tensor, queries: Tensor, settings: list[dict[str, float]]
    ) -> Iterator[Tensor]:
        grid = self.grid if settings == self.settings else only(self.grid, settings[0])
        standardize = Standardizer(features, active=grid.standardize)
        heads = fit_linear(standardize(features), labels, classes=self.classes, grid=grid, seed=self.seed)
        for part in torch.split(queries, CHUNK):
            yield heads.logits(standardize(part)).transpose(0, 1)


def only(grid: LinearGrid, setting: dict[str, float]) -> LinearGrid:
    """The grid with one of its settings."""
    return grid.model_copy(
        update={"learning_rates": (setting["lr"],), "weight_decays": (setting["weight_decay"],)}
    )  # fmt: skip
