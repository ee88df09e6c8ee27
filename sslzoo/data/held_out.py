"""Hold out a test split of a data set that has labels and no such split."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc  # type: ignore[import-untyped]
from datasets import Dataset, Image
from numpy.typing import NDArray

from sslzoo.data.images import Indices

MIN_IMAGES = 3
"""Smallest class of which an image can be held out: two remain, as classifiers choose their settings on one of them."""


@dataclass(frozen=True)
class HeldOutTest:
    """How the test split was held out."""

    share: float
    """Expected share of the labeled images."""
    seed: int
    by: str
    """What the choice depends on besides the seed: `file name` or `row`."""

    def describe(self) -> str:
        """Describe the split: `20 % of the labeled images, held out by file name and seed 0`."""
        return f"{100 * self.share:g} % of the labeled images, held out by {self.by} and seed {self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def read_file_names(table: Dataset, column: str, folder: Path | None) -> list[str] | None:
    """Return the path of each row's image below the folder of the data set.

    Returns:
        None if an image has no path, or several have the same one.
    """
    cells = table.select_columns([column]).cast_column(column, Image(decode=False)).with_format("arrow")
    paths = pc.struct_field(cells[:][column], "path").to_pylist()
    if None in paths or len(set(paths)) < len(paths):
        return None
    start = "" if folder is None else f"{folder}/"
    return [path.removeprefix(start) for path in paths]


def choose_test_images(keys: Sequence[str], labels: Indices, *, share: float, seed: int) -> NDArray[np.bool_] | None:
    """Choose the images of a test split.

    A hash of key and seed decides for each image, so that the choice does not depend on the order of images, and
    images keep their side when others are added. Each class has at least one test image, and two others.

    Args:
        keys: unique name of each image.
        labels: (N,) class numbers.
        share: expected share of test images.

    Returns:
        (N,) whether an image is a test image; None if a class has too few images.
    """
    points = np.array([_hash_to_unit(f"{seed}\0{key}") for key in keys])
    chosen = points < share
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < MIN_IMAGES:
            return None
        count = min(max(int(chosen[members].sum()), 1), len(members) - MIN_IMAGES + 1)
        chosen[members] = False
        chosen[members[np.argsort(points[members])[:count]]] = True
    return chosen


def _hash_to_unit(text: str) -> float:
    """Hash a text to a number in [0, 1)."""
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
