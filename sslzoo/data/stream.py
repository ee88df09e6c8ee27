"""Images read as a stream, without storing them."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Image, IterableDataset
from datasets.distributed import split_dataset_by_node

from sslzoo.data.batch import Batch
from sslzoo.data.images import decode_or_report, digest, pad
from sslzoo.data.pixels import Dtype, Pixels
from sslzoo.data.skipped import Skipped
from sslzoo.data.threads import threaded_map
from sslzoo.runtime.counter_rng import random_bits
from sslzoo.runtime.errors import UserError


class StreamedImages:
    """A training split as a stream, shuffled by shards and within a buffer.

    Args:
        stream: the rows.
        image: the column of the images.
        label: the column of the labels, or None; only a ClassLabel column is used.
        channels, dtype: of the pixels, see `decode`.
        short_side: pixels, see `decode`.
        epoch_images: images per epoch, over all processes.
        shuffle_buffer: size of the buffer from which the next image is sampled.
        name: name of the split in error messages.
        skipped: collects undecodable images.
        folder: that image files must lie in, see `open_file`.
    """

    def __init__(
        self,
        stream: IterableDataset,
        image: str,
        label: str | None,
        *,
        channels: int,
        dtype: Dtype = "uint8",
        short_side: int | None,
        epoch_images: int,
        shuffle_buffer: int,
        name: str,
        skipped: Skipped,
        folder: Path | None = None,
    ) -> None:
        numbered = label is not None and isinstance(stream.features[label], ClassLabel)
        self._image, self._label = image, label if numbered else None
        columns = [image] if self._label is None else [image, self._label]
        self._stream = stream.select_columns(columns).cast_column(image, Image(decode=False))
        self.channels, self.dtype, self.short_side = channels, dtype, short_side
        self._epoch_images, self._shuffle_buffer = epoch_images, shuffle_buffer
        self.name, self.skipped, self._folder = name, skipped, folder

    def __len__(self) -> int:
        return self._epoch_images

    @property
    def has_labels(self) -> bool:
        """Whether the stream has a label column."""
        return self._label is not None

    @property
    def id_bound(self) -> int | None:
        """None: an id belongs to another image in the next epoch."""
        return None

    def epoch_batches(
        self,
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        batches: int,
        rank: int,
        world: int,
        start: int,
        threads: int,
    ) -> Iterator[Batch]:
        """Iterate over batches `start` to `batches` of an epoch for one process; `start` batches are read and dropped.

        The id of an image is its position in this process's part of the shuffled stream, times `world`, plus `rank`.
        It is unique within an epoch, but differs between epochs. An undecodable image is replaced by another one of its
        batch.

        Raises:
            UserError: the stream ends early, or too many images are undecodable.
        """
        stream = self._stream.shuffle(seed=int(random_bits(seed, epoch)), buffer_size=self._shuffle_buffer)
        rows = islice(split_dataset_by_node(stream, rank, world), start * batch_size, batches * batch_size)

        def read(batch: int) -> tuple[int, list[dict[str, Any]]]:
            chunk = list(islice(rows, batch_size))
            if len(chunk) < batch_size:
                count = (batch * batch_size + len(chunk)) * world
                raise UserError(
                    f"--dataset.epoch-images {self._epoch_images}: {self.name} ended after about {count};"
                    f" use at most {count // (batch_size * world) * batch_size * world}"
                )
            return batch * batch_size, chunk

        def decode_chunk(chunk: tuple[int, list[dict[str, Any]]]) -> Batch:
            first, rows = chunk
            ids = torch.arange(first, first + len(rows)) * world + rank
            decoded = [self._decode(row[self._image]) for row in rows]
            self.skipped.add(image for image in decoded if isinstance(image, str))
            good = [position for position, image in enumerate(decoded) if not isinstance(image, str)]
            if not good:
                raise UserError(f"{decoded[0]}; no other image of its batch can be decoded either")
            chosen = [good[bisect_left(good, position) % len(good)] for position in range(len(rows))]
            labels = [-1 if self._label is None else rows[position][self._label] for position in chosen]
            values = [-1 if label is None else max(label, -1) for label in labels]
            images = [image for position in chosen if not isinstance(image := decoded[position], str)]
            return Batch(*pad(images), ids[chosen], torch.tensor(values, dtype=torch.int64))

        threads = max(1, threads)
        chunks = threaded_map(read, range(start, batches), threads=1, ahead=threads + 1)  # one thread: in order
        return threaded_map(decode_chunk, chunks, threads=threads, ahead=threads + 1)

    def _decode(self, cell: dict[str, Any] | None) -> Pixels | str:
        content = (cell or {}).get("bytes")
        suffix = f" of SHA-256 {digest(content)}" if isinstance(content, bytes) else ""  # other rows have a file name
        row = f"{self.name}, a row{suffix}"
        return decode_or_report(
            cell, row, channels=self.channels, dtype=self.dtype, short_side=self.short_side, folder=self._folder
        )
