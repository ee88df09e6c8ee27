"""Find nearest neighbors of a few images in feature space."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

QUERIES, NEIGHBORS = 10, 8


class Neighbors(NamedTuple):
    """Query images and their nearest neighbors."""

    queries: NDArray[np.int64]
    """Indices of the query images (Q,)."""
    nearest: NDArray[np.int64]
    """Indices of their neighbors (Q, K), most similar first."""


def choose_queries(labels: NDArray[np.int64], at_most: int = QUERIES) -> NDArray[np.int64]:
    """Choose the first image of each class (Q,); at most that many classes."""
    _, first = np.unique(labels, return_index=True)
    return first[:at_most]


def find_neighbors(features: NDArray[np.float32], queries: NDArray[np.int64], k: int = NEIGHBORS) -> Neighbors:
    """Find the k images with the highest cosine similarity of features (N, D); queries are not their own neighbors."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    similarity = unit[queries] @ unit.T
    similarity[np.arange(len(queries)), queries] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")
    return Neighbors(queries, order[:, : min(k, len(features) - 1)])
