"""Pictures read as a stream: nothing is stored, and only the order of the stream is known."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Image, IterableDataset
from datasets.distributed import split_dataset_by_node
from numpy.typing import NDArray

from sslzoo.data.batch import Batch
from sslzoo.data.images import decode_or_tell, digest, pad
from sslzoo.data.skipped import Skipped
from sslzoo.data.threads import threaded_map
from sslzoo.runtime.counter_rng import random_bits
from sslzoo.runtime.errors import UserError


class StreamedPictures:
    """A training split as a stream, shuffled by its shards and within a buffer.

    Args:
        stream: the rows.
        image: the column of the pictures.
        label: the column of the labels, or None; other labels than a ClassLabel's are left out.
        channels: 1 or 3.
        short_side: pixels, see `decode`.
        epoch_pictures: pictures that make one epoch, over all processes.
        shuffle_buffer: pictures among which the next one is drawn.
        name: what errors call the split.
        skipped: counts pictures that do not decode.
    """

    def __init__(
        self,
        stream: IterableDataset,
        image: str,
        label: str | None,
        *,
        channels: int,
        short_side: int | None,
        epoch_pictures: int,
        shuffle_buffer: int,
        name: str,
        skipped: Skipped,
    ) -> None:
        numbered = label is not None and isinstance(stream.features[label], ClassLabel)
        self._image, self._label = image, label if numbered else None
        columns = [image] if self._label is None else [image, self._label]
        self._stream = stream.select_columns(columns).cast_column(image, Image(decode=False))
        self.channels, self.short_side = channels, short_side
        self._epoch_pictures, self._shuffle_buffer = epoch_pictures, shuffle_buffer
        self.name, self.skipped = name, skipped

    def __len__(self) -> int:
        return self._epoch_pictures

    @property
    def has_labels(self) -> bool:
        """Whether there is a column of them."""
        return self._label is not None

    @property
    def id_bound(self) -> int | None:
        """None: an id is another picture's in the next epoch."""
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
        """Batches `start` to `batches` of an epoch for one process; the first `start` are read and dropped.

        An id is the picture's number in the shuffled stream of this epoch: its position in this process's
        part, times `world`, plus `rank`. So it is one picture's in the epoch, but not the same in the next. The place
        of a picture that is left out is taken by one of its batch.

        Raises:
            UserError: the stream ends early, or too many pictures do not decode.
        """
        stream = self._stream.shuffle(seed=int(random_bits(seed, epoch)), buffer_size=self._shuffle_buffer)
        rows = islice(split_dataset_by_node(stream, rank, world), start * batch_size, batches * batch_size)

        def read(batch: int) -> tuple[int, list[dict[str, Any]]]:
            chunk = list(islice(rows, batch_size))
            if len(chunk) < batch_size:
                there = (batch * batch_size + len(chunk)) * world
                raise UserError(
                    f"--dataset.epoch-pictures {self._epoch_pictures}: {self.name} ended after about {there};"
                    f" at most {there // (batch_size * world) * batch_size * world} can make an epoch"
                )
            return batch * batch_size, chunk

        def decode_chunk(chunk: tuple[int, list[dict[str, Any]]]) -> Batch:
            first, rows = chunk
            ids = torch.arange(first, first + len(rows)) * world + rank
            decoded = [self._decode(row[self._image]) for row in rows]
            self.skipped.add(picture for picture in decoded if isinstance(picture, str))
            good = [place for place, picture in enumerate(decoded) if not isinstance(picture, str)]
            if not good:
                raise UserError(f"{decoded[0]}; nor can any other of its batch")
            taken = [good[bisect_left(good, place) % len(good)] for place in range(len(rows))]
            labels = [-1 if self._label is None else rows[place][self._label] for place in taken]
            values = [-1 if label is None else max(label, -1) for label in labels]
            pictures = [picture for place in taken if not isinstance(picture := decoded[place], str)]
            return Batch(*pad(pictures), ids[taken], torch.tensor(values, dtype=torch.int64))

        threads = max(1, threads)
        chunks = threaded_map(read, range(start, batches), threads=1, ahead=threads + 1)  # one thread: in order
        return threaded_map(decode_chunk, chunks, threads=threads, ahead=threads + 1)

    def _decode(self, cell: dict[str, Any] | None) -> NDArray[np.uint8] | str:
        content = (cell or {}).get("bytes")
        number = f" of SHA-256 {digest(content)}" if isinstance(content, bytes) else ""  # others differ by their file
        where = f"{self.name}, a row{number}"
        return decode_or_tell(cell, where, channels=self.channels, short_side=self.short_side)
