"""Nearest neighbors of a few images, as a method sees them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

QUERIES, NEIGHBORS = 10, 8


class Neighbors(NamedTuple):
    """The images that are most similar to a few others."""

    queries: NDArray[np.int64]
    """(Q,) places of the images that are asked about."""
    nearest: NDArray[np.int64]
    """(Q, K) places of the others, the most similar first."""


def choose_queries(labels: NDArray[np.int64], at_most: int = QUERIES) -> NDArray[np.int64]:
    """The first image of each class, (Q,), of the first classes where there are more than `at_most`."""
    _, first = np.unique(labels, return_index=True)
    return first[:at_most]


def nearest_neighbors(features: NDArray[np.float32], queries: NDArray[np.int64], k: int = NEIGHBORS) -> Neighbors:
    """By cosine similarity of features (N, D), each image itself left out; fewer than k where N is smaller."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    similarity = unit[queries] @ unit.T
    similarity[np.arange(len(queries)), queries] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")
    return Neighbors(queries, order[:, : min(k, len(features) - 1)])
