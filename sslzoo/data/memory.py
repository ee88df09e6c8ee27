"""Data sets in memory, which `sslzoo.train(data=...)` and others receive as objects."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import Dataset, Image, IterableDataset, IterableDatasetDict

from sslzoo.data.columns import find_image_column
from sslzoo.data.config import DatasetConfig
from sslzoo.data.decode import decode
from sslzoo.data.detect import detect_images
from sslzoo.data.images import digest
from sslzoo.data.items import write_items
from sslzoo.data.sources import DATASETS, Source
from sslzoo.runtime.errors import UserError

NAME = "memory"
"""Name of the source, and of the data set config."""
TEST_SPLITS = ("test", "validation")
"""Splits on which accuracy is measured by default, the first one that exists."""
LARGEST_DEFAULT_SIZE = 128
"""Largest default of `img_size`; larger images are cropped or shrunk to it."""
SAMPLE = 32
"""Images whose size is inspected."""

_held: dict[str, Mapping[str, Dataset]] = {}
"""Splits of the data sets that this process holds, by identity."""


@DATASETS.register(NAME)
class Memory(Source):
    """A data set in memory: `sslzoo.train(data=...)` in Python."""

    def load(self, split: str) -> Dataset:
        splits = _held.get(self.config.path or "")
        if splits is None:
            raise UserError(
                f"--dataset {self.config.path or NAME}: is a data set in memory, which only Python can pass: "
                "give the same data set as data= again, as in sslzoo.train(data=..., resume=...)"
            )
        if split not in splits:
            raise self.no_such_split(split, list(splits))
        return splits[split]


@contextmanager
def hold_data(data: object) -> Iterator[dict[str, Any]]:
    """Hold a data set in this context, so that a config can name it.

    Its identity is the fingerprint of `datasets`, or for other data sets a digest of all images and labels.

    Args:
        data: a `datasets.Dataset`, a torch data set of images with or without labels (see `write_items`), or a mapping
            of the names of splits to such data sets, such as a `DatasetDict`.

    Yields:
        Settings of `dataset` that name it and its splits.

    Raises:
        UserError: it is something else, or contains something else.
    """
    splits = data if isinstance(data, Mapping) else {"train": data}
    with TemporaryDirectory(prefix="sslzoo-") as folder:
        tables = {str(name): _convert(part, str(name), Path(folder)) for name, part in splits.items()}
        identity = f"{NAME}:{digest(*(text for name, table in tables.items() for text in (name, table._fingerprint)))}"
        train = "train" if "train" in tables or len(tables) != 1 else next(iter(tables))
        previous = _held.get(identity)
        _held[identity] = tables
        try:
            yield {
                "name": NAME,
                "path": identity,
                "train": train,
                "test": next((split for split in TEST_SPLITS if split in tables and split != train), None),
            }
        finally:
            if previous is None:
                del _held[identity]
            else:
                _held[identity] = previous


def choose_image_size(dataset: Mapping[str, Any]) -> int:
    """Return the shorter side of most images of a held data set, at most `LARGEST_DEFAULT_SIZE` pixels.

    Args:
        dataset: what `hold_data` yields, and other settings of `dataset`.

    Raises:
        UserError: the split or the column of the images is missing.
    """
    config = DatasetConfig(**{"source": NAME, **dataset})
    table = Memory(config).load(config.train)
    column = find_image_column(table.features, config)
    pixels = detect_images(config, table, column)
    cells = table.select_columns([column]).cast_column(column, Image(decode=False))
    sides = []
    for row in range(0, len(table), max(1, len(table) // SAMPLE)):
        try:
            sides.append(min(decode(cells[row][column], channels=pixels.channels, dtype=pixels.pixel_dtype).shape[1:]))
        except Exception:  # an undecodable image, which is reported when all images are decoded
            continue
    return min(int(np.median(sides)), LARGEST_DEFAULT_SIZE) if sides else LARGEST_DEFAULT_SIZE


def _convert(data: object, split: str, folder: Path) -> Dataset:
    """Convert a split to a table of images and labels."""
    if isinstance(data, Dataset):
        return data.with_format(None)
    if isinstance(data, IterableDataset | IterableDatasetDict):
        raise UserError(
            f"data: {split} is an {type(data).__name__}; read a stream by its name, with dataset={{'streaming': True}}"
        )
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__") or isinstance(data, str | bytes):
        raise UserError(
            f"data: {split} is a {type(data).__name__}; give a path, a name, a datasets.Dataset, or a torch data set "
            "with __len__ and __getitem__"
        )
    return write_items(data, f"data ({split})", folder / f"{split}.arrow")
