"""Interface of classifiers, whose settings are chosen on a held-out part of train before they are tested."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from sslzoo.evaluation.labels import Indices
from sslzoo.evaluation.score import rank_top_classes


class Classifier(ABC):
    """Learns classes from labeled train images, with one of several settings."""

    settings: list[dict[str, float]]
    """The S settings to choose from."""

    @abstractmethod
    def predict(self, train: Indices, queries: Indices) -> Tensor:
        """Learn from some train images with each setting and predict the classes (S, Q) of others.

        Args:
            train: indices of the train images to learn from.
            queries: indices (Q,) of the train images to predict.
        """

    @abstractmethod
    def rank_test(self, train: Indices, setting: int) -> Tensor:
        """Learn from some train images with one setting and rank the best classes (N, R) of each test image."""


class FeatureClassifier(Classifier):
    """A classifier on features.

    Args:
        train: (M, D) float32 features with labels (M,) int64.
        test: (N, D) features.
        classes: number of classes.
    """

    def __init__(self, train: Tensor, labels: Tensor, test: Tensor, classes: int) -> None:
        self.train, self.labels, self.test, self.classes = train, labels, test, classes

    @abstractmethod
    def compute_scores(
        self, features: Tensor, labels: Tensor, queries: Tensor, settings: list[dict[str, float]]
    ) -> Iterator[Tensor]:
        """Compute the score of each class for chunks of the queries: (S, q, C) per chunk."""

    def predict(self, train: Indices, queries: Indices) -> Tensor:
        chunks = self.compute_scores(self.train[train], self.labels[train], self.train[queries], self.settings)
        return torch.cat([chunk.argmax(dim=2) for chunk in chunks], dim=1)

    def rank_test(self, train: Indices, setting: int) -> Tensor:
        chunks = self.compute_scores(self.train[train], self.labels[train], self.test, [self.settings[setting]])
        return torch.cat([rank_top_classes(chunk[0]) for chunk in chunks])
