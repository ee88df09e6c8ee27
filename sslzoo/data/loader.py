"""The order of images, and iterators over their batches."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from sslzoo.data.batch import Batch
from sslzoo.data.images import EncodedImages, Images, Indices
from sslzoo.data.stream import StreamedImages
from sslzoo.data.threads import threaded_map
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError

Loaded = TypeVar("Loaded")


def batches_per_epoch(n: int, batch_size: int, world: int = 1) -> int:
    """Return the number of complete global batches in n images; `batch_size` is that of one process.

    Raises:
        UserError: there are fewer images than one global batch.
    """
    whole = n // (batch_size * world)
    if whole == 0:
        processes = f" on {world} processes" if world > 1 else ""
        raise UserError(
            f"--batch-size {batch_size}{processes}: one batch needs {batch_size * world} images, but the"
            f" training split has {n}; use at most {n // world}"
        )
    return whole


def epoch_batches(
    images: Images | StreamedImages,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    workers: int = 0,
) -> Iterator[Batch]:
    """Iterate over the training batches of one process in one epoch.

    The order is a permutation keyed by seed and epoch. Global batch b is its b-th block of `batch_size * world` images,
    of which process `rank` has `batch_size` adjacent ones. So the global batches do not depend on the number of
    processes, and `start` resumes exactly where an interrupted epoch stopped. The last incomplete global batch is
    dropped. A stream is shuffled by shards and within a buffer instead.

    Args:
        batch_size: images per batch of this process.
        start: number of batches to skip at the beginning.
        workers: processes that decode (threads for a stream); 0 is one background thread.

    Raises:
        UserError: there are fewer images than one global batch, or an image cannot be decoded.
    """
    batches = batches_per_epoch(len(images), batch_size, world)
    if isinstance(images, StreamedImages):
        streamed = images.epoch_batches(
            seed=seed,
            epoch=epoch,
            batch_size=batch_size,
            batches=batches,
            rank=rank,
            world=world,
            start=start,
            threads=workers,
        )
        return map(Batch.pin_memory, streamed)
    shares = epoch_shares(len(images), seed=seed, epoch=epoch, batch_size=batch_size, rank=rank, world=world)
    return _load_batches(images, list(shares[start:]), workers)


def epoch_shares(n: int, *, seed: int, epoch: int, batch_size: int, rank: int = 0, world: int = 1) -> Indices:
    """(batches, batch_size) positions of the images that one process trains on in an epoch; see `epoch_batches`."""
    batches = batches_per_epoch(n, batch_size, world)
    order = permutation(n, seed, epoch).numpy()
    return order[: batches * batch_size * world].reshape(batches, world, batch_size)[:, rank]


def ordered_batches(images: Images, batch_size: int, *, workers: int = 0) -> Iterator[Batch]:
    """All images in their order, for evaluation; the last batch may be smaller.

    Raises:
        UserError: an image cannot be decoded.
    """
    chunks = np.split(np.arange(len(images)), range(batch_size, len(images), batch_size))
    return _load_batches(images, [chunk for chunk in chunks if len(chunk)], workers)


class DecodedBatch(NamedTuple):
    """The decodable images of a batch."""

    batch: Batch | None
    """None if no image can be decoded."""
    errors: list[str]
    """Error message of each undecodable image."""


def decodable_batches(images: Images, chunks: list[Indices], *, workers: int = 0) -> Iterator[DecodedBatch]:
    """Batches of the images at given positions, without the undecodable ones.

    Args:
        chunks: positions of each batch.
        workers: processes that decode images that are not stored decoded.
    """
    if not isinstance(images, EncodedImages):
        return (DecodedBatch(batch, []) for batch in _load_batches(images, chunks, workers))
    if workers == 0:
        return threaded_map(lambda indices: _pin(_gather_decodable(images, indices)), chunks)
    return _load_in_workers(partial(_gather_decodable, images), chunks, workers)


def _gather_decodable(images: EncodedImages, indices: Indices) -> DecodedBatch:
    return DecodedBatch(*images.gather_decodable(indices))


def _pin(decoded: DecodedBatch) -> DecodedBatch:
    return decoded if decoded.batch is None else DecodedBatch(decoded.batch.pin_memory(), decoded.errors)


class _Gathered(Generic[Loaded]):
    """A data set for torch's DataLoader whose items are whole batches.

    It returns errors instead of raising them: torch adds the worker's traceback to the message of a raised error.
    """

    def __init__(self, gather: Callable[[Indices], Loaded]) -> None:
        self._gather = gather

    def __getitem__(self, indices: Indices) -> Loaded | UserError:
        try:
            return self._gather(indices)
        except UserError as error:
            return error


def _load_batches(images: Images, chunks: list[Indices], workers: int) -> Iterator[Batch]:
    if images.decoded or workers == 0:
        return threaded_map(lambda indices: images.gather(indices).pin_memory(), chunks)
    return _load_in_workers(images.gather, chunks, workers)


def _load_in_workers(gather: Callable[[Indices], Loaded], chunks: list[Indices], workers: int) -> Iterator[Loaded]:
    loader: DataLoader[Loaded | UserError] = DataLoader(
        _Gathered(gather),  # type: ignore[arg-type]  # torch accepts any object with __getitem__
        sampler=chunks,
        batch_size=None,
        num_workers=min(workers, max(1, len(chunks))),
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch
