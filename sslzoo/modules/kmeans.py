"""Spherical k-means."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.runtime.counter_rng import permutation

CHUNK = 8192
"""Number of points whose similarities to all centroids are computed at once."""


@torch.no_grad()
def spherical_kmeans(points: Tensor, count: int, iterations: int, *keys: int) -> tuple[Tensor, Tensor]:
    """Cluster unit vectors by cosine similarity (Dhillon and Modha, Machine Learning 2001).

    The initial centroids are points sampled without replacement; an empty cluster keeps its centroid. The result
    depends on points, keys and device only: sums are matrix products with a fixed order, not scattered additions.

    Args:
        points: (N, D) L2-normalized, N >= count.
        keys: keys of the random initial centroids (seed, epoch, ...).

    Returns:
        (count, D) centroids, L2-normalized, and (N,) int64, the index of the nearest one to each point.
    """
    centroids = points[permutation(len(points), *keys, device=points.device)[:count]]
    for _ in range(iterations):
        sums = torch.zeros_like(centroids)
        for chunk in torch.split(points, CHUNK):
            sums += F.one_hot((chunk @ centroids.T).argmax(dim=1), count).to(chunk.dtype).T @ chunk
        lengths = sums.norm(dim=1, keepdim=True)
        centroids = torch.where(lengths > 0, sums / lengths, centroids)
    return centroids, torch.cat([(chunk @ centroids.T).argmax(dim=1) for chunk in torch.split(points, CHUNK)])
