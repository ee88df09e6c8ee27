"""Multinomial logistic regression, fitted by L-BFGS."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluation.classifier import FeatureClassifier
from sslzoo.evaluation.linear import QUERIES_AT_ONCE, Standardizer
from sslzoo.experiment.evaluation import LogisticGrid


class LogisticRegression(FeatureClassifier):
    """Logistic regression; the setting is the inverse strength of the penalty."""

    def __init__(self, train: Tensor, labels: Tensor, test: Tensor, classes: int, grid: LogisticGrid) -> None:
        super().__init__(train, labels, test, classes)
        self.grid = grid
        self.settings = [{"c": c} for c in grid.c]

    def compute_scores(
        self, features: Tensor, labels: Tensor, queries: Tensor, settings: list[dict[str, float]]
    ) -> Iterator[Tensor]:
        standardize = Standardizer(features, active=self.grid.standardize)
        x = standardize(features)
        fitted = [fit_logistic(x, labels, classes=self.classes, c=s["c"], grid=self.grid) for s in settings]
        for part in torch.split(queries, QUERIES_AT_ONCE):
            q = standardize(part).double()
            yield torch.stack([q @ weight + bias for weight, bias in fitted])


def fit_logistic(
    features: Tensor, labels: Tensor, *, classes: int, c: float, grid: LogisticGrid
) -> tuple[Tensor, Tensor]:
    """Minimize the sum of cross-entropies plus ||weight||^2 / (2 c); the bias has no penalty.

    The objective of scikit-learn's LogisticRegression(C=c). In float64, so that the result is the optimum up to the
    tolerance.

    Args:
        features: (N, D), with labels (N,) int64.
        c: inverse strength of the penalty.

    Returns:
        weight (D, classes) and bias (classes,), float64.
    """
    x = features.double()
    weight = x.new_zeros(x.shape[1], classes, requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=grid.max_iterations,
        max_eval=2 * grid.max_iterations,
        tolerance_grad=grid.tolerance,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight + bias, labels) + weight.square().sum() / (2 * c * len(x))
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
