"""Which columns of a table are the images and the labels, and the labels as class numbers."""

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


def image_column(features: Features, config: DatasetConfig) -> str:
    """The column of the images.

    Raises:
        UserError: the named column is missing or holds no images, or none is named and there is not exactly one.
    """
    if config.image is not None:
        name = _named(config.image, "image", features)
        if not isinstance(features[name], Image) and not _holds_encoded_images(features[name]):
            raise UserError(f"--dataset.image {name}: a column of {features[name]}, not of images")
        return name
    found: list[str] = [name for name, feature in features.items() if isinstance(feature, Image)]
    found = found or [name for name, feature in features.items() if _holds_encoded_images(feature)]
    if len(found) != 1:
        seen = f"several columns of images, {', '.join(found)}" if found else "no column of images"
        raise UserError(f"--dataset.image: {seen}; name one of {', '.join(found or features)}")
    return found[0]


def label_column(features: Features, config: DatasetConfig) -> str | None:
    """The column of the labels, None where there is none or it is to be ignored.

    Raises:
        UserError: the named column is missing or holds no labels, or none is named and there are several.
    """
    if config.unlabeled:
        return None
    if config.label is not None:
        name = _named(config.label, "label", features)
        if not _holds_labels(features[name]):
            raise UserError(f"--dataset.label {name}: a column of {features[name]}, not of class numbers or names")
        return name
    found = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    found = found or [n for n, feature in features.items() if n.lower() in _LABEL_NAMES and _holds_labels(feature)]
    if len(found) > 1:
        raise UserError(f"--dataset.label: several columns of labels; name one of {', '.join(found)}")
    return found[0] if found else None


def encode_labels(
    columns: Mapping[str, tuple[Dataset, str | None]],
) -> tuple[dict[str, NDArray[np.int64] | None], list[str]]:
    """Labels of several splits as numbers of the same classes.

    Args:
        columns: the table and its label column, by split.

    Returns:
        int64 labels by split, -1 where a row has none, None where the split has no such column; and the class
        names. Other values than a ClassLabel's are numbered in sorted order; negative numbers are no label.

    Raises:
        UserError: a ClassLabel's number has no name, or splits name their classes differently.
    """
    raw = {split: _values(table, name) for split, (table, name) in columns.items() if name is not None}
    names: list[str] | None = None
    for split, (table, name) in columns.items():
        if name is not None and isinstance(table.features[name], ClassLabel):
            own = list(table.features[name].names)
            if names is not None and own != names:
                raise UserError(
                    f"--dataset.label {name}: {split} has other classes, or in another order: {join_names(own)}"
                )
            names = own
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
        beyond = np.flatnonzero(numbers >= len(names))
        if len(beyond):
            row = beyond[0]
            raise UserError(
                f"--dataset.label {columns[split][1]}: {split}, row {row} is of class {numbers[row]}, and there are "
                f"{len(names)}, from 0 on: {join_names(names)}"
            )
    labels: dict[str, NDArray[np.int64] | None] = {
        split: np.maximum(encoded[split], -1) if split in encoded else None for split in columns
    }
    return labels, names


def _values(table: Dataset, name: str) -> Any:
    values = table.select_columns([name]).with_format("arrow")[:].column(name)
    return pc.fill_null(values, -1) if pa.types.is_integer(values.type) else values


def _named(name: str, setting: str, features: Features) -> str:
    if name not in features:
        raise UserError(f"--dataset.{setting} {name}: no such column{near_misses(name, features)}")
    return name


def _holds_encoded_images(feature: Any) -> bool:
    """Whether a column holds files as bytes, as parquet written without `datasets` does."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


def _holds_labels(feature: Any) -> bool:
    dtype = getattr(feature, "dtype", None)
    return isinstance(dtype, str) and dtype.startswith(("int", "uint", "string", "large_string"))
