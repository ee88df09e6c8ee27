"""Outliers: images that are far from their nearest neighbors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslzoo.embedding.nearest import Neighbors
from sslzoo.embedding.rows import Indices


class Outliers(NamedTuple):
    """All images of a collection, the most outlying first."""

    order: Indices
    """(N,) positions in the collection by descending distance."""
    distances: NDArray[np.float32]
    """(N,) mean cosine distance of each image, in the order of the collection, to its k nearest neighbors."""
    recall: float | None = None
    """See `Neighbors`."""


def rank_outliers(neighbors: Neighbors) -> Outliers:
    """Rank images by the mean cosine distance to their nearest neighbors (N, k).

    The score is that of a k-nearest-neighbor detector (Angiulli and Pizzuti, PKDD 2002, "weight"), divided by k.
    """
    found = np.where(neighbors.indices >= 0, neighbors.similarities, np.nan)
    distances = (1 - np.nanmean(found, axis=1)).astype(np.float32)
    return Outliers(np.argsort(-distances, kind="stable"), distances, neighbors.recall)
