"""Spherical k-means."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.runtime.counter_rng import permutation

CHUNK = 8192
"""Points whose similarities to all centroids are held at a time."""


@torch.no_grad()
def spherical_kmeans(points: Tensor, count: int, iterations: int, *keys: int) -> tuple[Tensor, Tensor]:
    """Clusters of unit vectors by cosine similarity (Dhillon and Modha, Machine Learning 2001).

    Centroids begin as points that are drawn without replacement; an empty cluster keeps its centroid. Points,
    keys and device alone decide the outcome: sums are matrix products, which add up in one order, not scattered.

    Args:
        points: (N, D) L2-normalized, N >= count.
        keys: what the first centroids are drawn from (seed, epoch, ...).

    Returns:
        (count, D) centroids, L2-normalized, and (N,) int64, which one is nearest to each point.
    """
    centroids = points[permutation(len(points), *keys, device=points.device)[:count]]
    for _ in range(iterations):
        sums = torch.zeros_like(centroids)
        for chunk in torch.split(points, CHUNK):
            sums += F.one_hot((chunk @ centroids.T).argmax(dim=1), count).to(chunk.dtype).T @ chunk
        lengths = sums.norm(dim=1, keepdim=True)
        centroids = torch.where(lengths > 0, sums / lengths, centroids)
    return centroids, torch.cat([(chunk @ centroids.T).argmax(dim=1) for chunk in torch.split(points, CHUNK)])
