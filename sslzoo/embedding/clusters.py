"""Clusters of images by spherical k-means, and their agreement with labels."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sslzoo.embedding.rows import Indices, Vectors
from sslzoo.embedding.unit import normalize_rows
from sslzoo.modules.kmeans import CHUNK, spherical_kmeans
from sslzoo.runtime.counter_rng import permutation

SAMPLE, STARTS, ITERATIONS = 100_000, 3, 30
"""Largest number of vectors that centroids are fitted on, random starts of which the best is kept, and iterations."""


class Clusters(NamedTuple):
    """Clusters of a collection, the largest first."""

    assignment: Indices
    """(N,) cluster of each image."""
    similarities: NDArray[np.float32]
    """(N,) cosine similarity of each image to the centroid of its cluster."""
    centroids: Vectors
    """(K, D) unit vectors; K is smaller than requested if clusters would be empty."""
    purity: float | None = None
    """Share of the labeled images whose class is the most frequent one of their cluster; None without labels."""
    nmi: float | None = None
    """Normalized mutual information of clusters and classes, 0 to 1, arithmetic mean; None without labels."""

    def find_members(self, cluster: int) -> Indices:
        """Return the positions of the images of a cluster, the most typical first."""
        members = np.flatnonzero(self.assignment == cluster)
        return members[np.argsort(-self.similarities[members], kind="stable")]


def find_clusters(vectors: Vectors, count: int, *, labels: Indices | None = None, seed: int = 0) -> Clusters:
    """Cluster vectors (N, D) by cosine similarity; of several random starts the one with the highest sum is kept.

    Args:
        count: number of clusters, at most N.
        labels: (N,) classes, -1 for none, to compute purity and NMI.
    """
    chosen = np.sort(permutation(len(vectors), seed, 0).numpy()[:SAMPLE])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    points = torch.from_numpy(normalize_rows(np.asarray(vectors[chosen]))).to(device)
    best, best_sum = points[:count], -torch.inf
    for start in range(STARTS):
        centroids, nearest = spherical_kmeans(points, count, ITERATIONS, seed, 1, start)
        total = float((points * centroids[nearest]).sum(dtype=torch.float64))
        if total > best_sum:
            best, best_sum = centroids, total
    assignment, similarities = _assign(vectors, best)
    sizes = np.bincount(assignment, minlength=count)
    order = np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]
    number = np.zeros(count, np.int64)
    number[order] = np.arange(len(order))
    clusters = Clusters(number[assignment], similarities, best.cpu().numpy()[order])
    return clusters if labels is None or not (labels >= 0).any() else _compare_with_labels(clusters, labels)


def _assign(vectors: Vectors, centroids: torch.Tensor) -> tuple[Indices, NDArray[np.float32]]:
    """Find the most similar centroid of each vector, in chunks."""
    assignment, similarities = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), CHUNK):
        unit = torch.from_numpy(normalize_rows(np.asarray(vectors[first : first + CHUNK]))).to(centroids.device)
        values, nearest = (unit @ centroids.T).max(dim=1)
        assignment[first : first + len(unit)] = nearest.cpu().numpy()
        similarities[first : first + len(unit)] = values.clamp(-1, 1).cpu().numpy()
    return assignment, similarities


def _compare_with_labels(clusters: Clusters, labels: Indices) -> Clusters:
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    known = labels >= 0
    classes, found = labels[known], clusters.assignment[known]
    purity = contingency_matrix(classes, found).max(axis=0).sum() / len(classes)
    return clusters._replace(purity=float(purity), nmi=float(normalized_mutual_info_score(classes, found)))
