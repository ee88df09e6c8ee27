"""What every classifier does: it guesses on the held-out part for each of its settings, and answers on test for one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from sslzoo.evaluate.labels import Indices
from sslzoo.evaluate.score import top_classes


class Classifier(ABC):
    """A way to learn classes from labeled images, with several settings to choose from."""

    settings: list[dict[str, float]]
    """What there is to choose from."""

    @abstractmethod
    def guess(self, learn: Indices, queries: Indices) -> Tensor:
        """Classes (S, Q) that each of the S settings, after learning from train images `learn`, gives `queries`.

        Args:
            learn: positions in train, `queries` (Q,) likewise.
        """

    @abstractmethod
    def rank(self, learn: Indices, setting: int) -> Tensor:
        """Best classes (N, R) of each test image, by one setting."""


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
    def scores(
        self, features: Tensor, labels: Tensor, queries: Tensor, settings: list[dict[str, float]]
    ) -> Iterator[Tensor]:
        """What each class scores: (S, q, C) for one chunk of the queries after the other."""

    def guess(self, learn: Indices, queries: Indices) -> Tensor:
        chunks = self.scores(self.train[learn], self.labels[learn], self.train[queries], self.settings)
        return torch.cat([chunk.argmax(dim=2) for chunk in chunks], dim=1)

    def rank(self, learn: Indices, setting: int) -> Tensor:
        chunks = self.scores(self.train[learn], self.labels[learn], self.test, [self.settings[setting]])
        return torch.cat([top_classes(chunk[0]) for chunk in chunks])
