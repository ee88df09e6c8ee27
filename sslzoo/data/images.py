"""Images by position: the view of a data set that training and evaluation use."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import torch
from datasets import Dataset, Image
from numpy.typing import NDArray
from torch import Tensor

from sslzoo.data.batch import Batch
from sslzoo.data.decode import decode
from sslzoo.data.pixels import Dtype, Pixels
from sslzoo.data.skipped import Skipped
from sslzoo.runtime.errors import UserError

Indices = NDArray[np.int64]

FORMAT = 1
"""Version of decoding and storage; increased whenever the same settings decode or store images differently."""


class Images(ABC):
    """A split, or a part of one."""

    ids: Indices
    """(n,) row numbers of the images in their split, also in a subset."""
    labels: Indices | None
    """(n,) class numbers, -1 for an image without label; None if no image has one."""
    classes: list[str]
    """Names of the classes, empty if there are none."""
    channels: int
    """1 to 16."""
    dtype: Dtype = "uint8"
    """Type of the pixels."""
    fingerprint: str
    """Changes whenever the pixels or their order change, and if the files are copied or modified."""
    pixel_digest: str | None = None
    """Digest of the pixels of all images in order; None if they are not stored decoded."""
    decoded: bool
    """Whether `gather` only copies pixels."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_labels(self) -> bool:
        """Whether any image has a label."""
        return self.labels is not None and bool((self.labels >= 0).any())

    @property
    def id_bound(self) -> int | None:
        """Exclusive upper bound of the ids."""
        return int(self.ids.max()) + 1

    @abstractmethod
    def gather(self, indices: Indices) -> Batch:
        """Return the images at positions `indices` (B,), in this order.

        Raises:
            UserError: an image cannot be decoded.
        """

    def stacked(self) -> Pixels | None:
        """Return all pixels (n, channels, height, width) if they are decoded and of one size, else None."""
        return None

    def subset(self, indices: Indices) -> "Images":
        """Return the images at positions `indices`; they keep their ids."""
        return Subset(self, indices)

    def share(self, rank: int, world: int) -> "Images":
        """Return the contiguous part of process `rank` of `world`; the parts together are all images in order."""
        return self.subset(np.array_split(np.arange(len(self)), world)[rank])

    def _batch(self, pixels: Tensor, sizes: Tensor, indices: Indices) -> Batch:
        labels = np.full(len(indices), -1) if self.labels is None else self.labels[indices]
        return Batch(pixels, sizes, torch.from_numpy(self.ids[indices]), torch.from_numpy(labels))


class Subset(Images):
    """Some of the images of another split or subset."""

    def __init__(self, images: Images, indices: Indices) -> None:
        self._images = images
        self._indices = np.asarray(indices, dtype=np.int64)
        self.ids = images.ids[self._indices]
        self.labels = None if images.labels is None else images.labels[self._indices]
        self.classes = images.classes
        self.channels, self.dtype = images.channels, images.dtype
        self.decoded = images.decoded
        self.fingerprint = digest(images.fingerprint, self._indices.tobytes())
        if images.pixel_digest is not None:
            self.pixel_digest = digest(images.pixel_digest, self._indices.tobytes())

    def gather(self, indices: Indices) -> Batch:
        return self._images.gather(self._indices[indices])

    def stacked(self) -> Pixels | None:
        whole = self._images.stacked()
        return None if whole is None else whole[self._indices]


class EncodedImages(Images):
    """Images that are decoded whenever they are read.

    Args:
        table: the rows.
        column: the column of the images.
        ids: (n,) the selected rows.
        labels: (n,) class numbers of these rows, or None.
        classes: names of the classes.
        channels, dtype: of the pixels, see `decode`.
        short_side: pixels, see `decode`.
        name: name of the split in error messages.
        skipped: collects undecodable images.
        folder: that image files must lie in, see `open_file`.
    """

    decoded = False

    def __init__(
        self,
        table: Dataset,
        column: str,
        *,
        ids: Indices,
        labels: Indices | None,
        classes: list[str],
        channels: int,
        dtype: Dtype = "uint8",
        short_side: int | None,
        name: str,
        skipped: Skipped,
        folder: Path | None = None,
    ) -> None:
        rows = b"all" if len(ids) == len(table) else ids.tobytes()
        shrunk = None if short_side is None else f"{short_side} by torch, JPEG in two steps"
        settings = f"{FORMAT} {table._fingerprint} {column} {channels} {shrunk}" + (
            "" if dtype == "uint8" else f" {dtype}"
        )
        self.fingerprint = digest(settings, rows)
        self.ids, self.labels, self.classes = ids, labels, classes
        self.channels, self.dtype = channels, dtype
        self.short_side, self.name, self.skipped = short_side, name, skipped
        self.folder = folder
        self._cells = table.select_columns([column]).cast_column(column, Image(decode=False))
        self._column = column

    def decode(self, indices: Indices) -> list[Pixels | str]:
        """Decode the images at these positions; each is (channels, height, width), or an error message."""
        rows = self.ids[indices].tolist()
        cells = self._cells[rows][self._column]
        return [
            decode_or_report(
                cell,
                f"{self.name}, row {row}",
                channels=self.channels,
                dtype=self.dtype,
                short_side=self.short_side,
                folder=self.folder,
            )
            for cell, row in zip(cells, rows, strict=True)
        ]

    def list_paths(self) -> pa.ChunkedArray:
        """Return the paths in the cells of the images (n,), null where there is none; reads no encoded image."""
        cells = self._cells.data.column(self._column)
        rows = pa.array(self.ids)
        if self._cells._indices is not None:  # rows of the table that were selected or sorted
            rows = self._cells._indices.column(0).take(rows)
        return pc.struct_field(cells, "path").take(rows)

    def gather_decodable(self, indices: Indices) -> tuple[Batch | None, list[str]]:
        """Return the decodable images at positions `indices`, None if there are none, and the errors of the others."""
        images = self.decode(indices)
        kept = [position for position, image in enumerate(images) if not isinstance(image, str)]
        errors = [image for image in images if isinstance(image, str)]
        if not kept:
            return None, errors
        pixels = [image for image in images if not isinstance(image, str)]
        return self._batch(*pad(pixels), indices[kept]), errors

    def gather(self, indices: Indices) -> Batch:
        images = []
        for image in self.decode(indices):
            if isinstance(image, str):
                self.skipped.add([image])
                raise UserError(f"{image}; it could be decoded when the data set was checked")
            images.append(image)
        return self._batch(*pad(images), indices)


def decode_or_report(
    cell: dict[str, Any] | None, row: str, *, channels: int, dtype: Dtype, short_side: int | None, folder: Path | None
) -> Pixels | str:
    """Decode an image to (channels, height, width), or return its place, file and error as one line."""
    try:
        return decode(cell, channels=channels, dtype=dtype, short_side=short_side, folder=folder)
    except Exception as error:  # decoders fail in many ways on damaged files
        path = cell.get("path") if cell else None
        file = f" ({path})" if path else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{row}{file}: not an image that can be decoded: {reason}"


def pad(images: Sequence[Pixels]) -> tuple[Tensor, Tensor]:
    """Pad images (C, h, w) with zeros to `pixels` (B, C, H, W) and `sizes` (B, 2) of a `Batch`."""
    sizes = torch.tensor([image.shape[1:] for image in images], dtype=torch.int64)
    height, width = sizes.max(dim=0).values.tolist()
    pixels = np.zeros((len(images), images[0].shape[0], height, width), dtype=images[0].dtype)
    for padded, image in zip(pixels, images, strict=True):
        padded[:, : image.shape[1], : image.shape[2]] = image
    return torch.from_numpy(pixels), sizes


def digest(*parts: str | bytes) -> str:
    """Return a digest of the parts, 32 hexadecimal digits."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:32]
