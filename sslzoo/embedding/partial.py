"""The folder of an unfinished embedding: features in shards, each of which is written completely or not at all.

`FILE.partial/` contains

- `identity.json`: what the features are computed from; an embedding continues only if it is the same;
- `00000000.f32`: features of the images of shard 0, float32, one row after the other;
- `00000000.json`: shape of a row, and the error message of each undecodable image by its id.

A shard is a range of positions that depends on the number of images, the batch size and the size of a row only. So the
shards are the same after any interruption, and with any number of processes.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from sslzoo.embedding.describe import describe_change
from sslzoo.embedding.rows import Indices, Vectors
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import replace, write_json

SHARD_IMAGES, SHARD_BYTES, SHARDS = 1024, 64 << 20, 64
"""A shard has at least one batch. It has several if it stays within this number of images and bytes of features, and if
there are still this many shards, which the processes share."""

CHUNK_BYTES = 32 << 20
"""Features that are held while shards are joined; a row group of a Parquet file."""


@dataclass(frozen=True)
class Shard:
    """A range of images."""

    number: int
    positions: range

    def split(self, batch_size: int) -> list[Indices]:
        """Return the positions of each batch."""
        where = np.arange(self.positions.start, self.positions.stop)
        return np.split(where, range(batch_size, len(where), batch_size))


@dataclass(frozen=True)
class ShardInfo:
    """What a finished shard contains."""

    shape: tuple[int, ...]
    """Shape of a row."""
    skipped: dict[int, str]
    """Error message of each undecodable image by its id."""


def create_shards(count: int, batch_size: int, row_bytes: int) -> list[Shard]:
    """Divide `count` images into shards of whole batches."""
    images = min(SHARD_IMAGES, SHARD_BYTES // row_bytes, count // SHARDS)
    size = max(1, images // batch_size) * batch_size
    return [Shard(n, range(start, min(start + size, count))) for n, start in enumerate(range(0, count, size))]


class Partial:
    """The shards of an unfinished embedding."""

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.partial")
        self._output, self._lock = output, FileLock(self.folder / "lock")

    def open(self, identity: dict[str, Any]) -> None:
        """Create the folder, or open the one of an earlier embedding; other processes cannot open it meanwhile.

        Raises:
            UserError: the features of the earlier one were computed from something else, or it is still running.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"--output {self._output}: another process is writing it") from None
        file = self.folder / "identity.json"
        if not file.is_file():
            write_json(file, identity)
            return
        try:
            earlier = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            earlier = {}
        if change := describe_change(earlier, identity):
            self.close()
            raise UserError(
                f"--output {self._output}: {self.folder} was started with {change}; delete the folder to start again, "
                "or name another file"
            )

    def is_complete(self, shard: Shard) -> bool:
        """Whether a shard is finished."""
        try:
            info = self.read_info(shard)
            rows = len(shard.positions) - len(info.skipped)
            return self._locate(shard).stat().st_size == 4 * rows * int(np.prod(info.shape))
        except (OSError, ValueError, KeyError):
            return False

    def create_writer(self, shard: Shard) -> "ShardWriter":
        """Create the writer of a shard."""
        return ShardWriter(self._locate(shard))

    def read_info(self, shard: Shard) -> ShardInfo:
        """Read the description of a shard.

        Raises:
            OSError, ValueError, KeyError: it is missing or damaged.
        """
        content = json.loads(self._locate(shard).with_suffix(".json").read_text(encoding="utf-8"))
        return ShardInfo(tuple(content["shape"]), {int(number): text for number, text in content["skipped"].items()})

    def read_vectors(self, shards: list[Shard], shape: tuple[int, ...]) -> Iterator[Vectors]:
        """Read the features of all shards in chunks of about `CHUNK_BYTES`, or one shard if that is larger."""
        held: list[Vectors] = []
        for shard in shards:
            held.append(np.fromfile(self._locate(shard), dtype=np.float32).reshape(-1, *shape))
            if sum(part.nbytes for part in held) + held[-1].nbytes > CHUNK_BYTES:
                chunk = np.concatenate(held) if len(held) > 1 else held[0]
                held = []
                yield chunk
        if held:
            yield np.concatenate(held)

    def delete(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Permit other processes to open the folder."""
        self._lock.release()

    def _locate(self, shard: Shard) -> Path:
        return self.folder / f"{shard.number:08d}.f32"


class ShardWriter:
    """Writes the features of a shard batch by batch; `finish` gives the file its final name."""

    def __init__(self, file: Path) -> None:
        self._file, self._partial = file, file.with_name(f"{file.name}.{os.getpid()}.tmp")
        self._content = self._partial.open("wb")
        self._skipped: dict[int, str] = {}

    def write(self, vectors: Vectors) -> None:
        """Append the features of a batch."""
        np.ascontiguousarray(vectors).tofile(self._content)

    def skip(self, number: int, message: str) -> None:
        """Record an undecodable image by its id."""
        self._skipped[number] = message

    def finish(self, shape: tuple[int, ...]) -> None:
        """Complete the shard; `shape` is that of a row."""
        self._content.close()
        write_json(self._file.with_suffix(".json"), {"shape": shape, "skipped": self._skipped})
        replace(self._partial, self._file)

    def discard(self) -> None:
        """Delete an incomplete shard."""
        self._content.close()
        self._partial.unlink(missing_ok=True)
