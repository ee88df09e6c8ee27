"""The rows of a file of features, without their vectors."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""(N, D), or (N, P, D) with `--tokens`."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """What identifies the N images of a file of features, and how the features were computed."""

    ids: Indices
    """(N,) row numbers of the images in their split."""
    paths: pa.StringArray | None
    """(N,) paths of the images, relative to `metadata["root"]` if there is one; null for an image without a path."""
    labels: Indices | None
    """(N,) class numbers, -1 for an image without label; None if no image has one."""
    classes: list[str]
    """Names of the classes."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Weights, transform, versions and skipped images."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Chunks:
    """Vectors in chunks of some rows, which are read one after the other."""

    shape: tuple[int, ...]
    """Shape of all vectors together: (N, D) or (N, P, D)."""
    parts: Iterable[Vectors]


def count_known(labels: Indices | None) -> int:
    """Return the number of images that have a label."""
    return 0 if labels is None else int((labels >= 0).sum())
