"""Load the images that a config describes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sslzoo.data.cache import load_cached
from sslzoo.data.columns import encode_labels, find_image_column, find_label_column
from sslzoo.data.config import DatasetConfig
from sslzoo.data.detect import detect_images
from sslzoo.data.held_out import HeldOutTest, choose_test_images, read_file_names
from sslzoo.data.images import EncodedImages, Images, Indices
from sslzoo.data.skipped import Skipped
from sslzoo.data.sources import Source, open_source
from sslzoo.data.statistics import measure_statistics
from sslzoo.data.stream import StreamedImages
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

ALL = "all"
"""Name that stands for all splits of a data set."""


@dataclass(frozen=True)
class Data:
    """The data sets of a run."""

    config: DatasetConfig
    """The settings, with the channels, type, range, mean and standard deviation of the pixels."""
    train: Images | StreamedImages
    """Images for pre-training."""
    labeled: Images | None
    """Labeled images that kNN and probes learn from; the object `train` itself if they are the same."""
    test: Images | None
    """Images for measuring accuracy."""
    classes: list[str]
    """Names of the classes, empty if there are no labels."""
    skipped: Skipped
    """Skipped images of all splits; of a stream, those of this process so far."""
    held_out: HeldOutTest | None = None
    """How `test` was held out from the labeled images; None if it is a split of the data set, or None."""


def load_data(config: DatasetConfig) -> Data:
    """Load the images that a config describes, through the cache if it is enabled.

    Raises:
        UserError: the source, path, split or column is missing or ambiguous, too many images are undecodable, or the
            cache cannot be written.
    """
    source = open_source(config)
    limits: dict[str, int | None] = {}  # by split, of those that are read as tables
    if not config.streaming:
        limits[config.train] = config.limit
    if config.labeled is not None:
        limits.setdefault(config.labeled, config.limit if config.streaming else None)
    if config.test is not None:
        limits.setdefault(config.test, config.test_limit)
    tables = {
        split: source.head(split, limit) if config.streaming else source.load(split) for split, limit in limits.items()
    }
    skipped = Skipped(config.max_skipped)
    config = _detect(config, tables, source.folder)
    encoded, classes = encode_tables(tables, limits, config, skipped, source.folder)
    images = {split: load_cached(table, config) for split, table in encoded.items()}
    train = _open_stream(source, config, skipped) if config.streaming else images[config.train]
    split = config.labeled or config.train
    labeled = None if split not in images else _select_labeled(images[split])
    data = Data(config, train, labeled, images[config.test] if config.test is not None else None, classes, skipped)
    if config.test is None and labeled is not None and config.test_share:
        table = tables[split]
        names = read_file_names(table, find_image_column(table.features, config), source.folder)
        data = _hold_out_test(data, config, names)
    return replace(data, config=_measure(config, data.train))


def _detect(config: DatasetConfig, tables: "Mapping[str, Dataset]", folder: Path | None) -> DatasetConfig:
    """Set channels and type by the first table with rows; a stream without tables is 8-bit RGB by default."""
    for table in tables.values():
        if len(table):
            return detect_images(config, table, find_image_column(table.features, config), folder)
    return config.fill_defaults(config.channels or 3, "uint8" if config.dtype == "auto" else config.dtype)


def _measure(config: DatasetConfig, train: Images | StreamedImages) -> DatasetConfig:
    """Measure the statistics of the training images that the settings leave open.

    Raises:
        UserError: the images are a stream.
    """
    if isinstance(train, Images):
        return measure_statistics(config, train)
    if not config.is_measured:
        missing = next(name for name in ("range", "mean", "std") if not getattr(config, name))
        raise UserError(f"--dataset.{missing}: missing; it cannot be measured on a stream")
    return config


def load_split(config: DatasetConfig, split: str) -> EncodedImages:
    """Load one split without decoding it; its images are decoded whenever they are read.

    Args:
        split: name of a split, an expression such as `train+test`, or `all` for all splits.

    Raises:
        UserError: the source, path, split or column is missing or ambiguous.
    """
    source = open_source(config)
    table = source.load("+".join(source.list_splits()) if split == ALL else split)
    return load_table(table, config, split=split, folder=source.folder)


def load_table(
    table: "Dataset", config: DatasetConfig, *, split: str = "in memory", folder: Path | None = None
) -> EncodedImages:
    """Load the images of a table without decoding them.

    Args:
        split: its name in messages.
        folder: that image files must lie in; None permits any file and URL.

    Raises:
        UserError: the column of images is missing or ambiguous, or the table is empty.
    """
    config = _detect(config, {split: table}, folder)
    encoded, _ = encode_tables({split: table}, {split: config.limit}, config, Skipped(config.max_skipped), folder)
    return encoded[split]


def encode_tables(
    tables: Mapping[str, "Dataset"],
    limits: Mapping[str, int | None],
    config: DatasetConfig,
    skipped: Skipped,
    folder: Path | None,
) -> tuple[dict[str, EncodedImages], list[str]]:
    """Find the images and labels of tables; their classes are the same.

    Args:
        tables: by split.
        limits: number of images to select of each split, balanced over the classes; None for all.
        folder: that image files must lie in, see `open_file`.

    Returns:
        The images by split, and the names of the classes.

    Raises:
        UserError: a column is missing or ambiguous, a table is empty, or the classes differ.
    """
    for split, table in tables.items():
        if len(table) == 0:
            raise UserError(f"{_split_name(config, split)}: contains no images")
    labels, classes = encode_labels(
        {split: (table, find_label_column(table.features, config)) for split, table in tables.items()}
    )
    images = {}
    for split, table in tables.items():
        kept = labels[split]
        ids = _select_rows(len(table), kept, limits[split])
        images[split] = EncodedImages(
            table,
            find_image_column(table.features, config),
            ids=ids,
            labels=None if kept is None else kept[ids],
            classes=classes,
            channels=config.channels,
            dtype=config.pixel_dtype,
            short_side=config.short_side,
            name=_split_name(config, split),
            skipped=skipped,
            folder=folder,
        )
    return images, classes


def _hold_out_test(data: Data, config: DatasetConfig, names: list[str] | None) -> Data:
    """Hold out a part of the labeled images as test split, unless a class has too few.

    Args:
        names: file name of each row of the labeled split; None to choose by row number.
    """
    labeled, train = data.labeled, data.train
    assert labeled is not None
    assert labeled.labels is not None
    keys = [str(row) if names is None else names[row] for row in labeled.ids]
    chosen = choose_test_images(keys, labeled.labels, share=config.test_share, seed=config.test_seed)
    if chosen is None:
        return data
    test = np.flatnonzero(chosen)
    if config.labeled in (None, config.train):
        assert isinstance(train, Images)
        train = train.subset(np.flatnonzero(~np.isin(train.ids, labeled.ids[test])))
    rest = train if labeled is data.train else labeled.subset(np.flatnonzero(~chosen))
    assert isinstance(rest, Images)
    test = test[_select_rows(len(test), labeled.labels[test], config.test_limit)]
    held_out = HeldOutTest(config.test_share, config.test_seed, "row" if names is None else "file name")
    return replace(data, train=train, labeled=rest, test=labeled.subset(test), held_out=held_out)


def _split_name(config: DatasetConfig, split: str) -> str:
    name = "images in memory" if config.source == "memory" else config.path or config.source
    return f"{name} ({split})"


def _select_labeled(images: Images) -> Images | None:
    """Return the images that have a label, None if there are none."""
    if images.labels is None or (images.labels < 0).all():
        return None
    if (images.labels >= 0).all():
        return images
    return images.subset(np.flatnonzero(images.labels >= 0))


def _select_rows(n: int, labels: Indices | None, limit: int | None) -> Indices:
    """Select `limit` of n rows in ascending order: always the same ones, balanced over the classes."""
    if limit is None or limit >= n:
        return np.arange(n)
    order = permutation(n, 0).numpy()
    if labels is not None:
        by_class = order[np.argsort(labels[order], kind="stable")]
        starts = np.searchsorted(labels[by_class], labels[by_class])
        rank = np.empty(n, dtype=np.int64)
        rank[by_class] = np.arange(n) - starts  # number of earlier rows of the same class
        order = order[np.argsort(rank[order], kind="stable")]
    return np.sort(order[:limit])


def _open_stream(source: Source, config: DatasetConfig, skipped: Skipped) -> StreamedImages:
    stream = source.stream(config.train)
    assert config.epoch_images is not None  # checked by the config
    return StreamedImages(
        stream,
        find_image_column(stream.features, config),
        find_label_column(stream.features, config),
        channels=config.channels,
        dtype=config.pixel_dtype,
        short_side=config.short_side,
        epoch_images=config.epoch_images,
        shuffle_buffer=config.shuffle_buffer,
        name=_split_name(config, config.train),
        skipped=skipped,
        folder=source.folder,
    )
