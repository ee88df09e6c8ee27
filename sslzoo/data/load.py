"""A config as the images to train on and to measure with."""

from dataclasses import dataclass

import numpy as np

from sslzoo.data.cache import cached
from sslzoo.data.columns import encode_labels, image_column, label_column
from sslzoo.data.config import DatasetConfig
from sslzoo.data.images import EncodedImages, Images, Indices
from sslzoo.data.skipped import Skipped
from sslzoo.data.sources import Source, open_source
from sslzoo.data.stream import StreamedImages
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError


@dataclass(frozen=True)
class Data:
    """The images of a run."""

    train: Images | StreamedImages
    """To pre-train on."""
    labeled: Images | None
    """Labeled images that kNN and probes learn from; the very object `train` where they are the same."""
    test: Images | None
    """To measure on."""
    classes: list[str]
    """Names of the classes, empty where there are no labels."""
    skipped: Skipped
    """What was left out of all splits; of a stream so far, on this process."""


def load_data(config: DatasetConfig) -> Data:
    """The images that a config describes, decoded into the cache where that is wanted.

    Raises:
        UserError: source, path, split or column are not there or not clear, too many images do not decode, or the
            cache cannot be written.
    """
    source = open_source(config)
    limits: dict[str, int | None] = {}  # of the splits that are read as tables
    if not config.streaming:
        limits[config.train] = config.limit
    if config.labeled is not None:
        limits.setdefault(config.labeled, config.limit if config.streaming else None)
    if config.test is not None:
        limits.setdefault(config.test, config.test_limit)
    tables = {
        split: source.head(split, limit) if config.streaming else source.load(split) for split, limit in limits.items()
    }
    for split, table in tables.items():
        if len(table) == 0:
            raise UserError(f"{_name(config, split)}: holds no images")
    labels, classes = encode_labels(
        {split: (table, label_column(table.features, config)) for split, table in tables.items()}
    )
    skipped = Skipped(config.max_skipped)
    images: dict[str, Images] = {}
    for split, table in tables.items():
        ids = _chosen(len(table), labels[split], limits[split])
        kept = labels[split]
        encoded = EncodedImages(
            table,
            image_column(table.features, config),
            ids=ids,
            labels=None if kept is None else kept[ids],
            classes=classes,
            channels=config.channels,
            short_side=config.short_side,
            name=_name(config, split),
            skipped=skipped,
        )
        images[split] = cached(encoded, config)
    train = _stream(source, skipped) if config.streaming else images[config.train]
    labeled = images.get(config.labeled or config.train)
    test = None if config.test is None else images[config.test]
    return Data(train, None if labeled is None else _with_labels(labeled), test, classes, skipped)


def _name(config: DatasetConfig, split: str) -> str:
    return f"{config.path or config.source} ({split})"


def _with_labels(images: Images) -> Images | None:
    """The images that have a label, None where none has."""
    if images.labels is None or (images.labels < 0).all():
        return None
    if (images.labels >= 0).all():
        return images
    return images.subset(np.flatnonzero(images.labels >= 0))


def _chosen(n: int, labels: Indices | None, limit: int | None) -> Indices:
    """`limit` of n rows in ascending order: the same ones always, as many of each class as there are."""
    if limit is None or limit >= n:
        return np.arange(n)
    order = permutation(n, 0).numpy()
    if labels is not None:
        by_class = order[np.argsort(labels[order], kind="stable")]
        starts = np.searchsorted(labels[by_class], labels[by_class])
        turn = np.empty(n, dtype=np.int64)
        turn[by_class] = np.arange(n) - starts  # how many of its class come before it
        order = order[np.argsort(turn[order], kind="stable")]
    return np.sort(order[:limit])


def _stream(source: Source, skipped: Skipped) -> StreamedImages:
    config = source.config
    stream = source.stream(config.train)
    assert config.epoch_images is not None  # checked by the config
    return StreamedImages(
        stream,
        image_column(stream.features, config),
        label_column(stream.features, config),
        channels=config.channels,
        short_side=config.short_side,
        epoch_images=config.epoch_images,
        shuffle_buffer=config.shuffle_buffer,
        name=_name(config, config.train),
        skipped=skipped,
    )
