"""How often neighbors have the same class: among features, and weighted by a target."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.runtime.counter_rng import permutation
from sslzoo.targets import Target


def same_class_chance(labels: Tensor) -> float:
    """Probability that two different random images with labels (N,) have the same class.

    The sum over classes of n_c (n_c - 1) / (N (N - 1)): the purity of random neighbors.

    Raises:
        ValueError: fewer than two images.
    """
    n = len(labels)
    if n < 2:
        raise ValueError(f"the chance of a common class needs at least two images, got {n}")
    counts = torch.bincount(labels)
    return float((counts * (counts - 1)).sum()) / (n * (n - 1))


@torch.inference_mode()
def neighborhood_purity(features: Tensor, labels: Tensor, *, ks: Sequence[int], chunk: int = 1024) -> Tensor:
    """Mean share of the k nearest features, by cosine similarity, that have the same class as the feature.

    A feature is not its own neighbor. Compare with `same_class_chance`.

    Args:
        features: (N, D) with `labels` (N,) int64.
        ks: numbers of neighbors, each from 1 to N - 1.
        chunk: number of features compared at once; memory is a few times chunk x N floats.

    Returns:
        (len(ks),) float64, in [0, 1], on the CPU.

    Raises:
        ValueError: a k is out of range.
    """
    n = len(features)
    if min(ks) < 1 or max(ks) >= n:
        raise ValueError(f"k = {list(ks)}: must be 1 to {n - 1}, the number of other features")
    unit = F.normalize(features.float())
    matches = torch.zeros(max(ks), dtype=torch.int64)
    for first in range(0, n, chunk):
        part = unit[first : first + chunk]
        similarities = part @ unit.T
        rows = torch.arange(len(part), device=part.device)
        similarities[rows, first + rows] = -torch.inf
        neighbors = similarities.topk(max(ks), dim=1).indices
        matches += (labels[neighbors] == labels[first : first + chunk, None]).sum(dim=0).cpu()
    return torch.stack([matches[:k].sum().double() / (k * n) for k in ks])


@dataclass(frozen=True)
class NeighborMass:
    """The weight that a target gives to candidates other than the positive."""

    extra_mass: float | None
    """Mean total weight of the candidates relative to the positive; None if the target drops the positive."""
    same_class: float | None
    """Share of this weight on candidates of the query's class; None if candidates have no weight."""
    chance: float | None
    """Share if each query's weight were distributed evenly over its candidates."""


@torch.inference_mode()
def measure_neighbor_mass(
    target: Target, keys: Tensor, labels: Tensor, *, queue_size: int, seed: int = 0, chunk: int = 256
) -> NeighborMass:
    """Measure how much weight a target gives to candidates, and how much of it to those of the query's class.

    Keys are shuffled. The candidates of each query are the next `queue_size` keys in cyclic order. So every query has
    the same number of candidates and never its own image, which would be its nearest neighbor and of its class. With
    `queue_size` = N - 1 the candidates are all other keys.

    Args:
        target: the target to measure.
        keys: (N, D), embeddings of different images from the teacher; normalized to unit length here.
        labels: (N,) int64.
        queue_size: number of candidates per query, from 2 to N - 1; use that of training, since confidence depends on
            it.
        seed: seed of the order.
        chunk: number of queries at once; memory is a few times chunk x (chunk + queue_size) floats.

    Raises:
        ValueError: `queue_size` is out of range.
    """
    n = len(keys)
    if not 2 <= queue_size < n:
        raise ValueError(f"queue_size = {queue_size}: must be 2 to {n - 1}, the number of other keys")
    order = permutation(n, seed, device=keys.device)
    unit, classes = F.normalize(keys.float())[order], labels[order]
    positives, masses, same_class_masses, chances = [], [], [], []
    for part in torch.split(torch.arange(n, device=keys.device), chunk):
        rows = torch.arange(len(part), device=keys.device)[:, None]
        following = (part[0] + 1 + torch.arange(len(part) + queue_size - 1, device=keys.device)) % n
        columns = rows + torch.arange(queue_size, device=keys.device)  # (B, queue_size) of `following`, by query
        candidates = (unit[part] @ unit[following].T).gather(1, columns)
        same = (classes[following][columns] == classes[part, None]).float()
        weights = target(torch.ones_like(candidates[:, 0]), candidates).weights
        extra = weights[:, 1:]
        positives.append(weights[:, 0])
        masses.append(extra.sum(dim=1))
        same_class_masses.append((extra * same).sum(dim=1))
        chances.append(extra.sum(dim=1) * same.mean(dim=1))
    positive, mass, same_class, chance = (
        torch.cat(parts).cpu().double() for parts in (positives, masses, same_class_masses, chances)
    )
    total = float(mass.sum())
    return NeighborMass(
        extra_mass=float((mass / positive).mean()) if bool((positive > 0).all()) else None,
        same_class=float(same_class.sum()) / total if total > 0 else None,
        chance=float(chance.sum()) / total if total > 0 else None,
    )
