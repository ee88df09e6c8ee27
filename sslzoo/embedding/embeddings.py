"""Features of a collection of images, and what can be found in them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import ArrayLike, NDArray

from sslzoo.embedding.clusters import Clusters, find_clusters
from sslzoo.embedding.duplicates import NearDuplicates, find_near_duplicates, select_near_duplicates
from sslzoo.embedding.files import read_features, write_features
from sslzoo.embedding.nearest import Neighbors, find_nearest
from sslzoo.embedding.outliers import Outliers, rank_outliers
from sslzoo.embedding.rows import Chunks, Rows, Vectors
from sslzoo.runtime.errors import UserError

Index = Literal["auto", "exact", "approximate"]

EXACT = 1_000_000
"""Largest collection that `index="auto"` searches exactly."""
DUPLICATES = 32
"""Neighbors of each image among which an approximate search looks for near-duplicates."""

Advance = Callable[[int], None]


def _ignore(count: int) -> None:
    """Show no progress."""


class Embeddings:
    """Features of N images.

    Args:
        vectors: (N, D), or (N, P, D) with a feature for each of P patches; float32.
        ids: (N,) row numbers of the images in their split; by default 0, 1, ...
        paths: N paths of the images, None for an image without a path.
        labels: (N,) class numbers, -1 for an image without label.
        classes: names of the classes.
        metadata: weights, transform, versions and skipped images; kept in files.

    Raises:
        UserError: the lengths differ.
    """

    def __init__(
        self,
        vectors: ArrayLike,
        *,
        ids: ArrayLike | None = None,
        paths: Sequence[str | None] | None = None,
        labels: ArrayLike | None = None,
        classes: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.vectors: Vectors = np.asanyarray(vectors, dtype=np.float32)
        count = len(self.vectors)
        self._rows = Rows(
            np.arange(count) if ids is None else np.asarray(ids, dtype=np.int64),
            None if paths is None else pa.array(paths, pa.string()),
            None if labels is None else np.asarray(labels, dtype=np.int64),
            list(classes),
            {} if metadata is None else metadata,
        )
        for name, column in (("ids", self.ids), ("paths", self._rows.paths), ("labels", self.labels)):
            if column is not None and len(column) != count:
                raise UserError(f"{name}: has {len(column)} values, and there are {count} vectors")

    @classmethod
    def load(cls, path: str | Path, *, memory_map: bool = True) -> "Embeddings":
        """Load a file that `embed` or `save` wrote: .npz, .parquet or .faiss (whose vectors have length 1).

        Args:
            memory_map: map the vectors of an .npz file into memory instead of reading them.

        Raises:
            UserError: the file does not exist, has an unknown ending, or is damaged.
        """
        rows, vectors = read_features(Path(path), memory_map=memory_map)
        loaded = cls.__new__(cls)
        loaded.vectors, loaded._rows = vectors, rows
        return loaded

    def save(self, path: str | Path, *, columns: bool = False) -> None:
        """Save to a file whose ending chooses the format: .npz, .parquet or .faiss.

        Args:
            columns: with .parquet, write a column for each dimension instead of one column of lists.

        Raises:
            UserError: the ending is unknown, or the file cannot be written.
        """
        step = 16384
        parts = (self.vectors[start : start + step] for start in range(0, len(self), step))
        write_features(Path(path), self._rows, Chunks(self.vectors.shape, parts), columns=columns)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        shape = " x ".join(f"{size:,}" for size in self.vectors.shape)
        weights = f", {self.metadata['weights']}" if "weights" in self.metadata else ""
        return f"Embeddings({shape}{weights})"

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) row numbers of the images in their split."""
        return self._rows.ids

    @property
    def paths(self) -> list[str | None] | None:
        """N paths of the images, relative to `metadata["root"]` if there is one; None if the images have no paths."""
        paths: list[str | None] | None = None if self._rows.paths is None else self._rows.paths.to_pylist()
        return paths

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) class numbers, -1 for an image without label; None without labels."""
        return self._rows.labels

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self._rows.classes

    @property
    def metadata(self) -> dict[str, Any]:
        """Weights, transform, versions and skipped images."""
        return self._rows.metadata

    def get_path(self, position: int) -> str | None:
        """Return the path of an image, None if it has none."""
        path: str | None = None if self._rows.paths is None else self._rows.paths[position].as_py()
        return path or None

    def get_name(self, position: int) -> str:
        """Return the path of an image, or its row if it has none."""
        return self.get_path(position) or f"row {self.ids[position]}"

    def get_label(self, position: int) -> str:
        """Return the class of an image, empty if it has none."""
        number = -1 if self.labels is None else int(self.labels[position])
        return self.classes[number] if 0 <= number < len(self.classes) else ""

    def nearest(
        self, query: "ArrayLike | Embeddings | None" = None, k: int = 10, *, index: Index = "auto",
        advance: Advance = _ignore,
    ) -> Neighbors:  # fmt: skip
        """Find the k nearest images by cosine similarity.

        Args:
            query: (D,), (Q, D) or embeddings; None for each image of the collection, which is not its own neighbor.
            k: number of neighbors; fewer if the collection is smaller.
            index: `exact` compares with every image, `approximate` uses FAISS and measures its recall; `auto` is exact
                up to a million images.
            advance: receives the number of queries that were answered, for a progress display.

        Raises:
            UserError: k is less than 1, the dimension differs, or the features are those of patches.
        """
        self._require_vectors()
        own = np.arange(len(self)) if query is None else None
        k = self._limit_neighbors(k, len(self) - (query is None))
        vectors = query.vectors if isinstance(query, Embeddings) else query
        queries = self.vectors if vectors is None else np.atleast_2d(np.asanyarray(vectors, dtype=np.float32))
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise UserError(
                f"query: has shape {queries.shape}, must be (Q, {self.vectors.shape[1]}), features of the same encoder"
            )
        if self._is_exact(index):
            return find_nearest(self.vectors, queries, k, own=own, advance=advance)
        from sslzoo.embedding.approximate import find_nearest_approximately

        return find_nearest_approximately(self.vectors, queries, k, own=own, advance=advance)

    def near_duplicates(
        self, threshold: float = 0.95, *, index: Index = "auto", advance: Advance = _ignore
    ) -> NearDuplicates:
        """Find pairs and groups of images whose cosine similarity is at least `threshold`.

        An approximate search looks among the 32 nearest neighbors of each image.

        Args:
            threshold: above -1 and at most 1.
            index: see `nearest`.
            advance: see `nearest`.

        Raises:
            UserError: the threshold is invalid or too small, or the features are those of patches.
        """
        self._require_vectors()
        if not -1 < threshold <= 1:
            raise UserError(f"--threshold {threshold:g}: must be a cosine similarity, above -1 and at most 1")
        if self._is_exact(index):
            return find_near_duplicates(self.vectors, threshold, advance)
        return select_near_duplicates(self.nearest(None, DUPLICATES, index=index, advance=advance), threshold)

    def outliers(self, k: int = 10, *, index: Index = "auto", advance: Advance = _ignore) -> Outliers:
        """Rank all images by the mean cosine distance to their k nearest neighbors.

        Args:
            k: number of neighbors; fewer if the collection is smaller.
            index: see `nearest`.
            advance: see `nearest`.

        Raises:
            UserError: k is less than 1, there is only one image, or the features are those of patches.
        """
        return rank_outliers(self.nearest(None, k, index=index, advance=advance))

    def clusters(self, k: int, seed: int = 0) -> Clusters:
        """Cluster the images by spherical k-means; with labels, also compute purity and NMI.

        Centroids are fitted on at most 100,000 images, with 3 random starts.

        Raises:
            UserError: k is not between 1 and the number of images, or the features are those of patches.
        """
        self._require_vectors()
        if not 1 <= k <= len(self):
            raise UserError(f"--clusters {k}: must be 1 to {len(self):,}, the number of images")
        return find_clusters(self.vectors, k, labels=self.labels, seed=seed)

    def _require_vectors(self) -> None:
        if self.vectors.ndim != 2:
            raise UserError("search needs one feature per image; these were written with --tokens")

    def _is_exact(self, index: Index) -> bool:
        if index not in ("auto", "exact", "approximate"):
            raise UserError(f"--index {index}: must be auto, exact or approximate")
        return index == "exact" or (index == "auto" and len(self) <= EXACT)

    def _limit_neighbors(self, k: int, available: int) -> int:
        if k < 1:
            raise UserError(f"--k {k}: must be at least 1")
        if available < 1:
            raise UserError("search needs at least two images")
        return min(k, available)
