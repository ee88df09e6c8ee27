"""In which order pictures are handed out, and the batches of them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader

from sslzoo.data.batch import Batch
from sslzoo.data.images import Indices, Pictures
from sslzoo.data.stream import StreamedPictures
from sslzoo.data.threads import threaded_map
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError


def batches_per_epoch(n: int, batch_size: int, world: int = 1) -> int:
    """Whole global batches in n pictures; `batch_size` is that of one process.

    Raises:
        UserError: there is not even one.
    """
    whole = n // (batch_size * world)
    if whole == 0:
        processes = f" on {world} processes" if world > 1 else ""
        raise UserError(
            f"--batch-size {batch_size}{processes}: one batch needs {batch_size * world} pictures, and there"
            f" are {n} to train on; at most {n // world} would be right"
        )
    return whole


def epoch_batches(
    pictures: Pictures | StreamedPictures,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    workers: int = 0,
) -> Iterator[Batch]:
    """The training batches of one process in one epoch.

    The order is a permutation keyed by seed and epoch; global batch b is its b-th piece of
    `batch_size * world`, of which process `rank` has its `batch_size` in a row. So the global batches do not
    depend on how many processes share them, and `start` goes on exactly where an interrupted epoch stopped.
    The pictures that do not fill a global batch are left out. A stream is shuffled as streams are instead.

    Args:
        batch_size: pictures a batch of this process has.
        start: batches to leave out at the beginning.
        workers: processes that decode (threads for a stream); 0 is one background thread.

    Raises:
        UserError: there are fewer pictures than one global batch, or one does not decode.
    """
    batches = batches_per_epoch(len(pictures), batch_size, world)
    if isinstance(pictures, StreamedPictures):
        streamed = pictures.epoch_batches(
            seed=seed,
            epoch=epoch,
            batch_size=batch_size,
            batches=batches,
            rank=rank,
            world=world,
            start=start,
            threads=workers,
        )
        return map(Batch.pinned, streamed)
    shares = epoch_shares(len(pictures), seed=seed, epoch=epoch, batch_size=batch_size, rank=rank, world=world)
    return _gathered(pictures, list(shares[start:]), workers)


def epoch_shares(n: int, *, seed: int, epoch: int, batch_size: int, rank: int = 0, world: int = 1) -> Indices:
    """(batches, batch_size) positions of the images that one process trains on in an epoch; see `epoch_batches`."""
    batches = batches_per_epoch(n, batch_size, world)
    order = permutation(n, seed, epoch).numpy()
    return order[: batches * batch_size * world].reshape(batches, world, batch_size)[:, rank]


def ordered_batches(pictures: Pictures, batch_size: int, *, workers: int = 0) -> Iterator[Batch]:
    """All pictures in their order, for evaluation; the last batch may be smaller.

    Raises:
        UserError: a picture does not decode.
    """
    pieces = np.split(np.arange(len(pictures)), range(batch_size, len(pictures), batch_size))
    return _gathered(pictures, [piece for piece in pieces if len(piece)], workers)


class _Gather:
    """A data set for torch's DataLoader whose items are whole batches.

    An error is handed over as it is: raised in a worker, torch would put the worker's traceback into its message.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __getitem__(self, indices: Indices) -> Batch | UserError:
        try:
            return self._pictures.gather(indices)
        except UserError as error:
            return error


def _gathered(pictures: Pictures, pieces: list[Indices], workers: int) -> Iterator[Batch]:
    if pictures.decoded or workers == 0:
        return threaded_map(lambda indices: pictures.gather(indices).pinned(), pieces)
    return _gathered_by_processes(pictures, pieces, workers)


def _gathered_by_processes(pictures: Pictures, pieces: list[Indices], workers: int) -> Iterator[Batch]:
    loader: DataLoader[Batch | UserError] = DataLoader(
        _Gather(pictures),  # type: ignore[arg-type]  # torch takes anything that has __getitem__
        sampler=pieces,
        batch_size=None,
        num_workers=min(workers, max(1, len(pieces))),
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch
