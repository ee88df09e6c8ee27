"""Approximate nearest neighbors of large collections by an inverted file of FAISS."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sslzoo.embedding.faiss_index import import_faiss
from sslzoo.embedding.nearest import QUERIES, Neighbors, find_nearest, sort_neighbors
from sslzoo.embedding.rows import Indices, Vectors
from sslzoo.embedding.unit import normalize_rows
from sslzoo.runtime.counter_rng import permutation

RECALL, SAMPLE = 0.95, 200
"""Recall that is aimed at, and the number of queries on which it is measured."""
TRAINING = 64
"""Vectors per list on which the lists are fitted, at least 39 as FAISS asks for."""


def find_nearest_approximately(
    vectors: Vectors,
    queries: Vectors,
    k: int,
    *,
    own: Indices | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> Neighbors:
    """Find nearest neighbors in lists of similar vectors (`IndexIVFFlat`), see `find_nearest` for the arguments.

    The number of lists that are searched is doubled until the recall of a sample of queries, measured against the exact
    search, is at least `RECALL`. The index holds a copy of all vectors in memory.

    Raises:
        UserError: FAISS is not installed.
    """
    faiss = import_faiss("--index approximate")
    index = _build(faiss, vectors, seed)
    sample = np.sort(permutation(len(queries), seed, 1).numpy()[:SAMPLE])
    sampled, own_sampled = np.asarray(queries[sample]), None if own is None else own[sample]
    truth = find_nearest(vectors, sampled, k, own=own_sampled)
    index.nprobe = min(8, index.nlist)
    while True:
        found = _search(index, sampled, k, own_sampled)
        recall = _measure_recall(found.indices, truth.indices)
        if recall >= RECALL or index.nprobe == index.nlist:
            break
        index.nprobe = min(2 * index.nprobe, index.nlist)
    indices = np.empty((len(queries), k), np.int64)
    similarities = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), QUERIES):
        rows = slice(start, min(start + QUERIES, len(queries)))
        part = _search(index, np.asarray(queries[rows]), k, None if own is None else own[rows])
        indices[rows], similarities[rows] = part.indices, part.similarities
        advance(rows.stop - rows.start)
    return Neighbors(indices, similarities, recall)


def _build(faiss: Any, vectors: Vectors, seed: int) -> Any:
    """Build the index from chunks of vectors."""
    count, width = vectors.shape
    lists = max(1, min(round(4 * count**0.5), count // TRAINING))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed + 1
    index.cp.spherical = True
    chosen = np.sort(permutation(count, seed, 2).numpy()[: lists * TRAINING])
    index.train(normalize_rows(np.asarray(vectors[chosen])))
    for first in range(0, count, QUERIES * 16):
        index.add(normalize_rows(np.asarray(vectors[first : first + QUERIES * 16])))
    return index


def _search(index: Any, queries: Vectors, k: int, own: Indices | None) -> Neighbors:
    """Search one more neighbor than k, and remove the query itself or else the last one."""
    similarities, indices = index.search(normalize_rows(queries), k if own is None else k + 1)
    if own is not None:
        similarities = np.where(indices == own[:, None], -np.inf, similarities)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return sort_neighbors(np.take_along_axis(indices, order, axis=1), np.take_along_axis(similarities, order, axis=1))


def _measure_recall(found: Indices, truth: Indices) -> float:
    """Share of the true neighbors (Q, k) that are among those found."""
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
    return sum(hits) / max(truth.size, 1)
