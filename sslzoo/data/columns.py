"""Find the columns of images and labels in a table, and encode labels as class numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from datasets import ClassLabel, Dataset, Features, Image
from numpy.typing import NDArray

from sslzoo.data.config import DatasetConfig
from sslzoo.runtime.errors import UserError, join_names, near_misses

_LABEL_NAMES = {"label", "labels", "class", "cls", "category", "target", "fine_label", "coarse_label"}


def find_image_column(features: Features, config: DatasetConfig) -> str:
    """Return the name of the image column.

    Raises:
        UserError: the named column is missing or has no images, or no column is named and there is not exactly one.
    """
    if config.image is not None:
        name = _require_column(config.image, "image", features)
        if not isinstance(features[name], Image) and not _contains_encoded_images(features[name]):
            raise UserError(f"--dataset.image {name}: a column of {features[name]}, not of images")
        return name
    found: list[str] = [name for name, feature in features.items() if isinstance(feature, Image)]
    found = found or [name for name, feature in features.items() if _contains_encoded_images(feature)]
    if len(found) != 1:
        problem = f"several columns of images, {', '.join(found)}" if found else "no column of images"
        raise UserError(f"--dataset.image: {problem}; name one of {', '.join(found or features)}")
    return found[0]


def find_label_column(features: Features, config: DatasetConfig) -> str | None:
    """Return the name of the label column, None if there is none or labels are ignored.

    Raises:
        UserError: the named column is missing or has no labels, or no column is named and there are several.
    """
    if config.unlabeled:
        return None
    if config.label is not None:
        name = _require_column(config.label, "label", features)
        if not _contains_labels(features[name]):
            raise UserError(f"--dataset.label {name}: a column of {features[name]}, not of class numbers or names")
        return name
    found = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    found = found or [n for n, feature in features.items() if n.lower() in _LABEL_NAMES and _contains_labels(feature)]
    if len(found) > 1:
        raise UserError(f"--dataset.label: several columns of labels; name one of {', '.join(found)}")
    return found[0] if found else None


def encode_labels(
    columns: Mapping[str, tuple[Dataset, str | None]],
) -> tuple[dict[str, NDArray[np.int64] | None], list[str]]:
    """Encode the labels of several splits as numbers of the same classes.

    Args:
        columns: the table and its label column, by split.

    Returns:
        int64 labels by split, -1 for a row without label, None for a split without label column; and the class names.
        A ClassLabel keeps its numbers; other values are numbered in sorted order. Negative numbers mean no label.

    Raises:
        UserError: a ClassLabel's number has no name, or the classes of the splits differ.
    """
    raw = {split: _values(table, name) for split, (table, name) in columns.items() if name is not None}
    names: list[str] | None = None
    for split, (table, name) in columns.items():
        if name is not None and isinstance(table.features[name], ClassLabel):
            classes = list(table.features[name].names)
            if names is not None and classes != names:
                raise UserError(
                    f"--dataset.label {name}: {split} has other classes or another order: {join_names(classes)}"
                )
            names = classes
    if names is not None:
        encoded = {split: values.to_numpy().astype(np.int64) for split, values in raw.items()}
    else:
        known = sorted({value for values in raw.values() for value in pc.unique(values).to_pylist()} - {None})
        classes = [value for value in known if not isinstance(value, int) or value >= 0]
        names = [str(value) for value in classes]
        encoded = {
            split: pc.fill_null(pc.index_in(values, pa.array(classes, values.type)), -1).to_numpy().astype(np.int64)
            for split, values in raw.items()
        }
    for split, numbers in encoded.items():
        invalid = np.flatnonzero(numbers >= len(names))
        if len(invalid):
            row = invalid[0]
            raise UserError(
                f"--dataset.label {columns[split][1]}: {split}, row {row} has class {numbers[row]}, but there are "
                f"only {len(names)}, counted from 0: {join_names(names)}"
            )
    labels: dict[str, NDArray[np.int64] | None] = {
        split: np.maximum(encoded[split], -1) if split in encoded else None for split in columns
    }
    return labels, names


def _values(table: Dataset, name: str) -> Any:
    values = table.select_columns([name]).with_format("arrow")[:].column(name)
    return pc.fill_null(values, -1) if pa.types.is_integer(values.type) else values


def _require_column(name: str, setting: str, features: Features) -> str:
    if name not in features:
        raise UserError(f"--dataset.{setting} {name}: no such column{near_misses(name, features)}")
    return name


def _contains_encoded_images(feature: Any) -> bool:
    """Whether a column contains encoded files, as in parquet written without `datasets`."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


def _contains_labels(feature: Any) -> bool:
    dtype = getattr(feature, "dtype", None)
    return isinstance(dtype, str) and dtype.startswith(("int", "uint", "string", "large_string"))
