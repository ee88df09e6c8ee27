"""Weighted nearest neighbors on features."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluate.classifier import FeatureClassifier
from sslzoo.experiment.evaluation import EvaluationConfig

MOST_FLOATS = 1 << 26
"""Size of the largest table of similarities or votes that is held at once, 256 MiB."""


class Knn(FeatureClassifier):
    """Weighted kNN; the settings are k and temperature."""

    def __init__(
        self, train: Tensor, labels: Tensor, test: Tensor, classes: int, config: EvaluationConfig, most: int
    ) -> None:
        super().__init__(train, labels, test, classes)
        ks = sorted({min(k, most) for k in config.knn_k})
        self.settings = [{"k": k, "temperature": t} for k in ks for t in config.knn_temperature]

    def scores(
        self, features: Tensor, labels: Tensor, queries: Tensor, settings: list[dict[str, float]]
    ) -> Iterator[Tensor]:
        pairs = [(int(s["k"]), s["temperature"]) for s in settings]
        return knn_votes(features, labels, queries, classes=self.classes, pairs=pairs)


@torch.no_grad()
def knn_votes(
    train: Tensor, train_labels: Tensor, queries: Tensor, *, classes: int, pairs: Sequence[tuple[int, float]]
) -> Iterator[Tensor]:
    """Votes of the nearest features for each class, for every pair of k and temperature in one pass.

    A neighbor of cosine similarity s votes for its class with weight exp(s / temperature) (Wu et al., CVPR 2018,
    section 3.4, "Weighted k-nearest neighbor classifier"), here divided by that of the nearest.

    Args:
        train: (N, D) features with `train_labels` (N,) int64.
        queries: (Q, D) features, compared in chunks whose tables are bounded by `MOST_FLOATS`.
        pairs: P numbers of neighbors, from 1 to N, each with a positive temperature.

    Returns:
        (P, q, classes) float32 for one chunk of the queries after the other.

    Raises:
        ValueError: a k is larger than the train features.
    """
    ks = [k for k, _ in pairs]
    if max(ks) > len(train) or min(ks) < 1:
        raise ValueError(f"k from 1 to {len(train)}, the number of train features, not {ks}")
    unit = F.normalize(train.float())
    chunk = max(1, MOST_FLOATS // max(len(train), len(pairs) * classes))
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
    """Classes (Q,) int64 that the nearest features vote for; of classes with equal votes the first one wins.

    Raises:
        ValueError: k is larger than the train features.
    """
    votes = knn_votes(train, train_labels, queries, classes=classes, pairs=[(k, temperature)])
    return torch.cat([chunk[0].argmax(dim=1) for chunk in votes])
