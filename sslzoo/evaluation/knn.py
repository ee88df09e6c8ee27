"""Weighted k-nearest-neighbor classifier on features."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluation.classifier import FeatureClassifier
from sslzoo.experiment.evaluation import EvaluationConfig

MAX_TABLE_SIZE = 1 << 26
"""Maximum number of similarities or votes in memory at once, 256 MiB in float32."""


class Knn(FeatureClassifier):
    """Weighted kNN; the settings are k and temperature.

    Args:
        max_k: larger values of k are reduced to this one.
    """

    def __init__(
        self, train: Tensor, labels: Tensor, test: Tensor, classes: int, config: EvaluationConfig, max_k: int
    ) -> None:
        super().__init__(train, labels, test, classes)
        ks = sorted({min(k, max_k) for k in config.knn_k})
        self.settings = [{"k": k, "temperature": t} for k in ks for t in config.knn_temperature]

    def compute_scores(
        self, features: Tensor, labels: Tensor, queries: Tensor, settings: list[dict[str, float]]
    ) -> Iterator[Tensor]:
        pairs = [(int(s["k"]), s["temperature"]) for s in settings]
        return knn_votes(features, labels, queries, classes=self.classes, pairs=pairs)


@torch.no_grad()
def knn_votes(
    train: Tensor, train_labels: Tensor, queries: Tensor, *, classes: int, pairs: Sequence[tuple[int, float]]
) -> Iterator[Tensor]:
    """Compute the votes of the nearest features for each class, for all pairs of k and temperature in one pass.

    A neighbor of cosine similarity s votes for its class with weight exp(s / temperature) (Wu et al., CVPR 2018,
    section 3.4, "Weighted k-nearest neighbor classifier"), here divided by the weight of the nearest.

    Args:
        train: (N, D) features with `train_labels` (N,) int64.
        queries: (Q, D) features, compared in chunks whose size is limited by `MAX_TABLE_SIZE`.
        pairs: P pairs of a number of neighbors, from 1 to N, and a positive temperature.

    Returns:
        (P, q, classes) float32 for each chunk of the queries.

    Raises:
        ValueError: a k is less than 1 or larger than the number of train features.
    """
    ks = [k for k, _ in pairs]
    if max(ks) > len(train) or min(ks) < 1:
        raise ValueError(f"k = {ks}: must be 1 to {len(train)}, the number of train features")
    unit = F.normalize(train.float())
    chunk = max(1, MAX_TABLE_SIZE // max(len(train), len(pairs) * classes))
    for part in torch.split(queries, chunk):
        similarities, neighbors = (F.normalize(part.float()) @ unit.T).topk(max(ks), dim=1)
        labels = train_labels[neighbors]
        votes = similarities.new_zeros(len(pairs), len(part), classes)
        for vote, (k, temperature) in zip(votes, pairs, strict=True):
            weights = ((similarities[:, :k] - similarities[:, :1]) / temperature).exp()
            vote.scatter_add_(1, labels[:, :k], weights)
        yield votes


def knn_predict(
    train: Tensor, train_labels: Tensor, queries: Tensor, *, classes: int, k: int, temperature: float
) -> Tensor:
    """Predict the classes (Q,) int64 by the votes of the nearest features; the first class wins on ties.

    Raises:
        ValueError: k is less than 1 or larger than the number of train features.
    """
    votes = knn_votes(train, train_labels, queries, classes=classes, pairs=[(k, temperature)])
    return torch.cat([chunk[0].argmax(dim=1) for chunk in votes])
