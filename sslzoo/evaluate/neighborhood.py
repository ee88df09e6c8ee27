"""Whether what is near has the same class: among features, and under the weights of a target."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.runtime.counter_rng import permutation
from sslzoo.targets import Target


def same_class_chance(labels: Tensor) -> float:
    """Probability that two different images, drawn from labels (N,), have the same class.

    The sum over classes of n_c (n_c - 1) / (N (N - 1)): the purity of neighbors that are drawn at random.

    Raises:
        ValueError: fewer than two images.
    """
    n = len(labels)
    if n < 2:
        raise ValueError(f"a chance of two images needs two at least, there is {n}")
    counts = torch.bincount(labels)
    return float((counts * (counts - 1)).sum()) / (n * (n - 1))


@torch.inference_mode()
def neighborhood_purity(features: Tensor, labels: Tensor, *, ks: Sequence[int], chunk: int = 1024) -> Tensor:
    """Mean share of the k nearest features, by cosine, that have the class of the feature in the middle.

    A feature is not its own neighbor. To be read beside `same_class_chance`.

    Args:
        features: (N, D) with `labels` (N,) int64.
        ks: numbers of neighbors, each from 1 to N - 1.
        chunk: features compared at once; memory is a few times chunk x N floats.

    Returns:
        (len(ks),) float64, in [0, 1], on the CPU.

    Raises:
        ValueError: a k is not possible.
    """
    n = len(features)
    if min(ks) < 1 or max(ks) >= n:
        raise ValueError(f"k from 1 to {n - 1}, the number of other features, not {list(ks)}")
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
    """Where a target puts the weight that is not on the positive."""

    extra_mass: float | None
    """Mean weight of the candidates together, in units of the positive's; None where a target drops the positive."""
    same_class: float | None
    """Share of the candidates' weight that is on candidates of the query's class; None where they have no weight."""
    chance: float | None
    """The same share, had each query's weight been spread evenly over its candidates."""


@torch.inference_mode()
def measure_neighbor_mass(
    target: Target, keys: Tensor, labels: Tensor, *, queue_size: int, seed: int = 0, chunk: int = 256
) -> NeighborMass:
    """How much weight a target gives to neighbors, and how much of it to those of the query's own class.

    Keys are put in random order. The candidates of each query are the `queue_size` keys that follow it, the first ones
    after the last: every query has the same number of candidates, and never its own image, which would be its nearest
    neighbor and of its class. With `queue_size` = N - 1 the candidates are all other keys.

    Args:
        target: of `sslzoo.targets`.
        keys: (N, D), the teacher's embeddings of different images, made unit vectors here.
        labels: (N,) int64.
        queue_size: candidates of each query, from 2 to N - 1; that of training, as confidence depends on it.
        seed: of the order.
        chunk: queries at once; memory is a few times chunk x (chunk + queue_size) floats.

    Raises:
        ValueError: `queue_size` is too small or too large.
    """
    n = len(keys)
    if not 2 <= queue_size < n:
        raise ValueError(f"queue_size = {queue_size}: must be 2 to {n - 1}, the number of other keys")
    order = permutation(n, seed, device=keys.device)
    unit, classes = F.normalize(keys.float())[order], labels[order]
    on_positive, on_candidates, on_class, by_chance = [], [], [], []
    for part in torch.split(torch.arange(n, device=keys.device), chunk):
        rows = torch.arange(len(part), device=keys.device)[:, None]
        following = (part[0] + 1 + torch.arange(len(part) + queue_size - 1, device=keys.device)) % n
        own = rows + torch.arange(
            queue_size, device=keys.device
        )  # (B, queue_size): each query's columns of `following`
        candidates = (unit[part] @ unit[following].T).gather(1, own)
        same = (classes[following][own] == classes[part, None]).float()
        weights = target(torch.ones_like(candidates[:, 0]), candidates).weights
        extra = weights[:, 1:]
        on_positive.append(weights[:, 0])
        on_candidates.append(extra.sum(dim=1))
        on_class.append((extra * same).sum(dim=1))
        by_chance.append(extra.sum(dim=1) * same.mean(dim=1))
    positive, mass, right, chance = (
        torch.cat(sums).cpu().double() for sums in (on_positive, on_candidates, on_class, by_chance)
    )
    total = float(mass.sum())
    return NeighborMass(
        extra_mass=float((mass / positive).mean()) if bool((positive > 0).all()) else None,
        same_class=float(right.sum()) / total if total > 0 else None,
        chance=float(chance.sum()) / total if total > 0 else None,
    )
