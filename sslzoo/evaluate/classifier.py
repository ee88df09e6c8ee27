"""What every classifier does: it guesses on the held-out part for each of its settings, and answers on test for one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from sslzoo.evaluate.labels import Indices
from sslzoo.evaluate.score import top_classes


class Classifier(ABC):
    """A way to learn classes from labelled pictures, with several settings to choose from."""

    settings: list[dict[str, float]]
    """What there is to choose from."""

    @abstractmethod
    def guess(self, learn: Indices, queries: Indices) -> Tensor:
        """Classes (S, Q) that each of the S settings, after learning from train pictures `learn`, gives `queries`.

        Args:
            learn: positions in train, `queries` (Q,) likewise.
        """

    @abstractmethod
    def rank(self, learn: Indices, setting: int) -> Tensor:
        """Best classes (N, R) of each test picture, by one setting."""


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
        """What each class scores: (S, q, C) for one piece of the queries after the other."""

    def guess(self, learn: Indices, queries: Indices) -> Tensor:
        pieces = self.scores(self.train[learn], self.labels[learn], self.train[queries], self.settings)
        return torch.cat([piece.argmax(dim=2) for piece in pieces], dim=1)

    def rank(self, learn: Indices, setting: int) -> Tensor:
        pieces = self.scores(self.train[learn], self.labels[learn], self.test, [self.settings[setting]])
        return torch.cat([top_classes(piece[0]) for piece in pieces])
