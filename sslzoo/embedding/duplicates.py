"""Near-duplicates: pairs of images whose features are more similar than a threshold, and groups of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sslzoo.embedding.nearest import Neighbors, compute_inverse_lengths
from sslzoo.embedding.rows import Indices, Vectors
from sslzoo.runtime.errors import UserError

CHUNK = 4096
"""Rows and columns of a table of similarities that is in memory at once, 64 MiB in float32."""
MAX_PAIRS = 20_000_000
"""Largest number of pairs, 480 MB."""
TOLERANCE = 1e-6
"""Rounding error of a similarity in float32: that of two equal images may be smaller than 1."""


class NearDuplicates(NamedTuple):
    """Pairs of similar images, the most similar first, and the groups that they form."""

    pairs: Indices
    """(P, 2) positions in the collection, the smaller one first."""
    similarities: NDArray[np.float32]
    """(P,) cosine similarities."""
    groups: list[Indices]
    """Positions of the images of each group, ascending; the largest group first. An image belongs to a group if it is
    similar to any other of its images."""
    recall: float | None = None
    """See `Neighbors`."""


def find_near_duplicates(
    vectors: Vectors, threshold: float, advance: Callable[[int], None] = lambda count: None
) -> NearDuplicates:
    """Compare all pairs of vectors (N, D) by matrix products, on a GPU if there is one.

    Args:
        threshold: smallest cosine similarity of a pair, to within `TOLERANCE`.
        advance: receives the number of images of each finished chunk.

    Raises:
        UserError: there are over `MAX_PAIRS` pairs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inverse_lengths = compute_inverse_lengths(vectors)

    def load_unit(first: int) -> torch.Tensor:
        part = vectors[first : first + CHUNK] * inverse_lengths[first : first + CHUNK, None]
        return torch.from_numpy(part).to(device)

    pairs, similarities, count = [], [], 0
    for first in range(0, len(vectors), CHUNK):
        rows = load_unit(first)
        for second in range(first, len(vectors), CHUNK):
            table = rows @ (rows if second == first else load_unit(second)).T
            found = table >= threshold - TOLERANCE
            if second == first:
                found = found.triu(diagonal=1)
            count += int(found.sum())
            require_few_pairs(count, threshold)
            places = found.nonzero()
            similarities.append(table[found].cpu().numpy())
            pairs.append(places.cpu().numpy() + np.array([first, second]))
        advance(len(rows))
    return group_pairs(np.concatenate(pairs), np.concatenate(similarities), len(vectors))


def select_near_duplicates(neighbors: Neighbors, threshold: float) -> NearDuplicates:
    """Select the near-duplicates among the nearest neighbors (N, k) of each image of a collection."""
    similar = (neighbors.similarities >= threshold - TOLERANCE) & (neighbors.indices >= 0)
    rows, columns = similar.nonzero()
    pairs = np.sort(np.stack([rows, neighbors.indices[rows, columns]], axis=1), axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    require_few_pairs(len(pairs), threshold)
    similarities = neighbors.similarities[rows, columns][first]
    return group_pairs(pairs, similarities, len(neighbors.indices))._replace(recall=neighbors.recall)


def group_pairs(pairs: Indices, similarities: NDArray[np.float32], count: int) -> NearDuplicates:
    """Sort pairs (P, 2) by similarity, and find the groups that they connect among `count` images."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -similarities))
    pairs, similarities = pairs[order], similarities[order].clip(-1, 1)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    members = np.unique(pairs)
    by_group = members[np.argsort(component[members], kind="stable")]
    _, starts = np.unique(component[by_group], return_index=True)
    groups = [group for group in np.split(by_group, starts[1:]) if len(group)]
    groups.sort(key=lambda group: (-len(group), int(group[0])))
    return NearDuplicates(pairs, similarities, groups)


def require_few_pairs(count: int, threshold: float) -> None:
    """Check the number of pairs.

    Raises:
        UserError: there are over `MAX_PAIRS`.
    """
    if count > MAX_PAIRS:
        raise UserError(f"--threshold {threshold:g}: over {MAX_PAIRS:,} pairs are as similar; use a larger threshold")
