"""Images by number: what training and evaluation see of a data set."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Image
from numpy.typing import NDArray
from torch import Tensor

from sslzoo.data.batch import Batch
from sslzoo.data.decode import decode
from sslzoo.data.skipped import Skipped
from sslzoo.runtime.errors import UserError

Indices = NDArray[np.int64]

FORMAT = 1
"""Raised whenever the same settings would decode or store images differently."""


class Images(ABC):
    """A split, or a part of one."""

    ids: Indices
    """(n,) the images' numbers in their split, whatever part of it this is."""
    labels: Indices | None
    """(n,) class numbers, -1 where an image has no label; None where none has."""
    classes: list[str]
    """Names of the classes, empty where there are none."""
    channels: int
    """1 (grayscale) or 3 (RGB)."""
    fingerprint: str
    """Changes whenever the pixels or their order do."""
    decoded: bool
    """Whether `gather` only copies pixels."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_labels(self) -> bool:
        """Whether any image has one."""
        return self.labels is not None and bool((self.labels >= 0).any())

    @property
    def id_bound(self) -> int | None:
        """All ids are below it."""
        return int(self.ids.max()) + 1

    @abstractmethod
    def gather(self, indices: Indices) -> Batch:
        """The images at these positions (B,), in this order.

        Raises:
            UserError: an image does not decode.
        """

    def stacked(self) -> NDArray[np.uint8] | None:
        """All pixels (n, channels, height, width) where they are decoded and of one size."""
        return None

    def subset(self, indices: Indices) -> "Images":
        """The images at these positions; they keep their ids."""
        return Subset(self, indices)

    def share(self, rank: int, world: int) -> "Images":
        """The part of process `rank` of `world`, in a row; the parts together are all images in their order."""
        return self.subset(np.array_split(np.arange(len(self)), world)[rank])

    def _batch(self, pixels: Tensor, sizes: Tensor, indices: Indices) -> Batch:
        labels = np.full(len(indices), -1) if self.labels is None else self.labels[indices]
        return Batch(pixels, sizes, torch.from_numpy(self.ids[indices]), torch.from_numpy(labels))


class Subset(Images):
    """Some images of others."""

    def __init__(self, images: Images, indices: Indices) -> None:
        self._images = images
        self._indices = np.asarray(indices, dtype=np.int64)
        self.ids = images.ids[self._indices]
        self.labels = None if images.labels is None else images.labels[self._indices]
        self.classes = images.classes
        self.channels = images.channels
        self.decoded = images.decoded
        self.fingerprint = digest(images.fingerprint, self._indices.tobytes())

    def gather(self, indices: Indices) -> Batch:
        return self._images.gather(self._indices[indices])

    def stacked(self) -> NDArray[np.uint8] | None:
        whole = self._images.stacked()
        return None if whole is None else whole[self._indices]


class EncodedImages(Images):
    """Images that are decoded whenever they are read.

    Args:
        table: the rows.
        column: the column of the images.
        ids: (n,) the rows to take.
        labels: (n,) class numbers of these rows, or None.
        classes: names of the classes.
        channels: 1 or 3.
        short_side: pixels, see `decode`.
        name: what errors call the split.
        skipped: counts images that do not decode.
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
        short_side: int | None,
        name: str,
        skipped: Skipped,
    ) -> None:
        rows = b"all" if len(ids) == len(table) else ids.tobytes()
        shrunk = None if short_side is None else f"{short_side} by torch, JPEG in two steps"
        settings = f"{FORMAT} {table._fingerprint} {column} {channels} {shrunk}"
        self.fingerprint = digest(settings, rows)
        self.ids, self.labels, self.classes, self.channels = ids, labels, classes, channels
        self.short_side, self.name, self.skipped = short_side, name, skipped
        self._cells = table.select_columns([column]).cast_column(column, Image(decode=False))
        self._column = column

    def decode(self, indices: Indices) -> list[NDArray[np.uint8] | str]:
        """The images at these positions, each (channels, height, width) uint8, or what is wrong with it."""
        rows = self.ids[indices].tolist()
        cells = self._cells[rows][self._column]
        return [
            decode_or_report(cell, f"{self.name}, row {row}", channels=self.channels, short_side=self.short_side)
            for cell, row in zip(cells, rows, strict=True)
        ]

    def gather(self, indices: Indices) -> Batch:
        images = []
        for image in self.decode(indices):
            if isinstance(image, str):
                self.skipped.add([image])
                raise UserError(f"{image}; it was one when the data set was looked through")
            images.append(image)
        return self._batch(*pad(images), indices)


def decode_or_report(
    cell: dict[str, Any] | None, where: str, *, channels: int, short_side: int | None
) -> NDArray[np.uint8] | str:
    """An image, (channels, height, width) uint8, or what is wrong with it: place, file and reason in a line."""
    try:
        return decode(cell, channels=channels, short_side=short_side)
    except Exception as error:  # decoders fail in many ways on damaged files
        path = cell.get("path") if cell else None
        file = f" ({path})" if path else ""
        message = re.sub(r" <[^>]* at 0x[0-9a-f]+>", "", str(error).replace(f" {path!r}", ""))  # a row has no file
        reason = " ".join(message.split()) or type(error).__name__
        return f"{where}{file}: not an image that can be decoded: {reason}"


def pad(images: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Images (C, h, w) as `pixels` (B, C, H, W), zero beyond each, and `sizes` (B, 2) of a `Batch`."""
    sizes = torch.tensor([image.shape[1:] for image in images], dtype=torch.int64)
    height, width = sizes.max(dim=0).values.tolist()
    pixels = np.zeros((len(images), images[0].shape[0], height, width), dtype=np.uint8)
    for place, image in zip(pixels, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return torch.from_numpy(pixels), sizes


def digest(*parts: str | bytes) -> str:
    """A digest of the parts, 32 hexadecimal digits."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:32]
