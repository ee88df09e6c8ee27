"""Thumbnails of images as data URIs."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sslzoo.data.config import DatasetConfig
from sslzoo.data.decode import decode, is_converted
from sslzoo.data.display import choose_display
from sslzoo.data.images import EncodedImages
from sslzoo.data.pixels import Pixels
from sslzoo.embedding.compose import restore_job
from sslzoo.embedding.embeddings import Embeddings
from sslzoo.embedding.images import open_images
from sslzoo.evaluation.transform import choose_transform
from sslzoo.runtime.errors import UserError

SIDE = 128
"""Longer side of a thumbnail in pixels."""
LOSSLESS = 64
"""Images up to this side are written as PNG, larger ones as JPEG."""


class Thumbnails:
    """Thumbnails of the images of a collection: from their files, or from their data set.

    Args:
        collection: its metadata say where the images are.
    """

    def __init__(self, collection: Embeddings) -> None:
        self._collection = collection
        root = collection.metadata.get("root")
        self._root = None if root is None else Path(root)
        self._dataset = _restore_dataset(collection.metadata)
        self._images: EncodedImages | None = None
        self._opened = False
        self._by_position: dict[int, str | None] = {}

    def create(self, position: int) -> str | None:
        """Create the thumbnail of an image as a data URI; None if the image is not there any more."""
        if position not in self._by_position:
            pixels = self._read(position)
            self._by_position[position] = None if pixels is None else create_data_uri(pixels, self._dataset.rgb)
        return self._by_position[position]

    def _read(self, position: int) -> Pixels | None:
        path = self._collection.get_path(position)
        if path is not None:
            file = Path(path) if self._root is None else self._root / path
            if file.is_file():
                return _decode_file(file, self._dataset)
        images = self._open_images()
        if images is None:
            return None
        row = int(np.searchsorted(images.ids, self._collection.ids[position]))
        if row >= len(images) or images.ids[row] != self._collection.ids[position]:
            return None
        decoded = images.decode(np.array([row]))[0]
        return None if isinstance(decoded, str) else decoded

    def _open_images(self) -> EncodedImages | None:
        """Open the images of the metadata's settings, if they are still the same."""
        metadata = self._collection.metadata
        if not self._opened and "settings" in metadata:
            self._opened = True
            try:
                job = restore_job(metadata["settings"])
                images = open_images(job, choose_transform(job))
                if images.fingerprint == metadata["identity"]["images"]:
                    self._images = images
            except (UserError, KeyError, TypeError):
                self._images = None
        return self._images


def create_data_uri(pixels: Pixels, rgb: tuple[int, int, int] | None = None) -> str:
    """Encode an image (C, h, w) as a thumbnail of at most `SIDE` pixels.

    Args:
        rgb: channels of red, green and blue, see `choose_display`.
    """
    shown = choose_display(pixels, rgb).render_bytes(pixels)
    image = Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown)
    image.thumbnail((SIDE, SIDE))
    content, kind = io.BytesIO(), "png" if max(image.size) <= LOSSLESS else "jpeg"
    image.save(content, kind, **({"quality": 82, "optimize": True} if kind == "jpeg" else {"optimize": True}))
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def _restore_dataset(metadata: dict[str, Any]) -> DatasetConfig:
    """Restore the settings of the images, by default those of 8-bit RGB images."""
    default = DatasetConfig().fill_defaults(3, "uint8")
    try:
        dataset = restore_job(metadata["settings"]).dataset
    except (UserError, KeyError, TypeError):
        return default
    dtype = dataset.known_dtype
    return default if dtype is None or is_converted(dataset.channels, dtype) else dataset


def _decode_file(file: Path, dataset: DatasetConfig) -> Pixels | None:
    cell = {"bytes": None, "path": str(file)}
    try:
        return decode(cell, channels=dataset.channels, dtype=dataset.pixel_dtype, short_side=SIDE)
    except Exception:  # decoders fail in many ways on damaged files
        return None
