"""Exact nearest neighbors by cosine similarity."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sslzoo.embedding.rows import Indices, Vectors
from sslzoo.embedding.unit import normalize_rows

QUERIES, CANDIDATES = 1024, 16384
"""Rows of a table of similarities that is in memory at once, 64 MiB in float32, and its columns."""

GATHERED = 1 << 24
"""Values of neighbors in memory at once, 64 MiB in float32."""


class Neighbors(NamedTuple):
    """The k nearest neighbors of Q queries, the most similar first; equally similar ones by index."""

    indices: Indices
    """(Q, k) positions in the collection; -1 where an approximate index found fewer than k."""
    similarities: NDArray[np.float32]
    """(Q, k) cosine similarities."""
    recall: float | None = None
    """Share of the true neighbors of a sample of queries that were found; None for an exact search, which finds all."""


def find_nearest(
    vectors: Vectors,
    queries: Vectors,
    k: int,
    *,
    own: Indices | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Neighbors:
    """Find the nearest neighbors of each query among vectors by matrix products, on a GPU if there is one.

    Args:
        vectors: (N, D), read in chunks.
        queries: (Q, D).
        k: number of neighbors, at most N, or N - 1 with `own`.
        own: (Q,) position of each query in `vectors`, which is not its own neighbor; -1 for another image.
        advance: receives the number of queries of each finished chunk.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inverse_lengths = compute_inverse_lengths(vectors)
    indices = np.empty((len(queries), k), np.int64)
    similarities = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), QUERIES):
        rows = slice(start, min(start + QUERIES, len(queries)))
        unit = torch.from_numpy(normalize_rows(np.asarray(queries[rows]))).to(device)
        best = torch.full((len(unit), 0), 0.0, device=device)
        places = torch.full((len(unit), 0), 0, dtype=torch.int64, device=device)
        for first in range(0, len(vectors), CANDIDATES):
            table = _compute_similarities(unit, vectors, inverse_lengths, first)
            if own is not None:
                _exclude(table, own[rows], first)
            values, columns = table.topk(min(k, table.shape[1]), dim=1)
            best, places = torch.cat([best, values], dim=1), torch.cat([places, columns + first], dim=1)
            best, chosen = best.topk(min(k, best.shape[1]), dim=1)
            places = places.gather(1, chosen)
        indices[rows] = places.cpu().numpy()
        similarities[rows] = _compute_exactly(unit.cpu().numpy(), vectors, inverse_lengths, indices[rows])
        advance(len(unit))
    return sort_neighbors(indices, similarities)


def _compute_exactly(
    unit: Vectors, vectors: Vectors, inverse_lengths: NDArray[np.float32], indices: Indices
) -> NDArray[np.float32]:
    """Compute the similarities (q, k) of unit vectors to the vectors at `indices` in float64.

    Those of equal vectors are equal, unlike in a matrix product, so that ties are ordered by index.
    """
    similarities = np.empty(indices.shape, np.float32)
    step = max(1, GATHERED // (indices.shape[1] * unit.shape[1]))
    for start in range(0, len(unit), step):
        places = indices[start : start + step]
        products = np.einsum("qd,qkd->qk", unit[start : start + step], vectors[places], dtype=np.float64)
        similarities[start : start + step] = products * inverse_lengths[places]
    return similarities


def sort_neighbors(indices: Indices, similarities: NDArray[np.float32], recall: float | None = None) -> Neighbors:
    """Sort the neighbors of each query by similarity, equally similar ones by index; limit rounding to [-1, 1]."""
    order = np.lexsort((indices, -similarities), axis=1)
    clipped = np.take_along_axis(similarities, order, axis=1).clip(-1, 1)
    return Neighbors(np.take_along_axis(indices, order, axis=1), clipped, recall)


def compute_inverse_lengths(vectors: Vectors) -> NDArray[np.float32]:
    """Compute 1 / length of each row of (N, D), in chunks; 0 for a row of zeros."""
    lengths = np.empty(len(vectors), np.float64)
    for first in range(0, len(vectors), CANDIDATES):
        part = vectors[first : first + CANDIDATES]
        lengths[first : first + len(part)] = np.sqrt(np.einsum("nd,nd->n", part, part, dtype=np.float64))
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 1e-12).astype(np.float32)


def _compute_similarities(
    unit: torch.Tensor, vectors: Vectors, inverse_lengths: NDArray[np.float32], first: int
) -> torch.Tensor:
    """Similarities (q, c) of unit vectors (q, D) to the chunk of vectors that starts at `first`."""
    part = np.array(vectors[first : first + CANDIDATES])  # a copy, as torch accepts no read-only memory
    candidates = torch.from_numpy(part).to(unit.device)
    table: torch.Tensor = unit @ candidates.T
    return table.mul_(torch.from_numpy(inverse_lengths[first : first + len(part)]).to(unit.device))


def _exclude(table: torch.Tensor, own: Indices, first: int) -> None:
    inside = (own >= first) & (own < first + table.shape[1])
    rows, columns = np.flatnonzero(inside), own[inside] - first
    table[torch.from_numpy(rows).to(table.device), torch.from_numpy(columns).to(table.device)] = -torch.inf
