"""Decode an image to pixels of a given color mode and maximum size."""

import io
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from datasets.utils.file_utils import is_local_path, xopen
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "TGA", "AVIF")
"""Pillow's names of the formats that are read: pixels only, none that starts another program as EPS does."""


def decode(cell: Any, *, channels: int, short_side: int | None = None, folder: Path | None = None) -> NDArray[np.uint8]:
    """Decode an image: upright by its EXIF orientation, 8 bits, grayscale or RGB, shrunk with antialiasing.

    A JPEG that is shrunk to a quarter or less is decoded at a lower resolution, at least twice the final size.

    Args:
        cell: an undecoded cell of a `datasets` column: a mapping of `bytes` and `path`.
        channels: 1 or 3.
        short_side: pixels; an image whose shorter side is longer is shrunk to this length.
        folder: see `open_file`.

    Returns:
        (channels, height, width) uint8.

    Raises:
        ValueError, OSError, SyntaxError: the image cannot be decoded; the message is Pillow's.
    """
    if cell is None:
        raise ValueError("the cell is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF data is harmless
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow refuses images of twice this size
        with open_file(cell, folder) as file:
            image = open_image(file, short_side)
        image = convert_mode(image, "L" if channels == 1 else "RGB")
    pixels = torch.from_numpy(np.array(image))
    pixels = pixels[None] if channels == 1 else pixels.permute(2, 0, 1)
    if short_side is not None and min(image.size) > short_side:
        scale = short_side / min(image.size)
        width, height = (max(short_side, round(side * scale)) for side in image.size)
        pixels = resize(pixels, [height, width], InterpolationMode.BICUBIC, antialias=True)  # faster than Pillow's
    return np.ascontiguousarray(pixels.numpy())


def open_file(cell: dict[str, Any], folder: Path | None) -> BinaryIO:
    """Open the encoded image of a cell: its bytes, or the file that its path names.

    Args:
        folder: absolute; a relative path starts here, and a path that leaves it or is a URL is an error. None permits
            any path, as a data set on the Hub and a plug-in's source need.

    Raises:
        ValueError: the cell is empty, or its path is not permitted.
        OSError: the path is not a readable regular file. A named pipe, which could block, is not one.
    """
    content, path = cell.get("bytes"), cell.get("path")
    if content is not None:
        return io.BytesIO(content)
    if not path:
        raise ValueError("the cell has neither bytes nor a path")
    if not is_local_path(path):
        if folder is not None:
            raise ValueError("its path is a URL, and a local data set reads local files only")
        with xopen(path, "rb") as remote:
            return io.BytesIO(remote.read())
    if folder is not None:
        path = os.path.normpath(folder / path)
        if not Path(path).is_relative_to(folder):
            raise ValueError("its path leads out of the data set's folder")
    if not Path(path).is_file():
        raise FileNotFoundError("no such regular file")
    return Path(path).open("rb")


@cache
def find_formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this build of Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(file: BinaryIO, short_side: int | None) -> Image.Image:
    """Open an image upright, a large JPEG at 1/2, 1/4 or 1/8 of its size.

    Raises:
        ValueError: the file is not an image in one of `FORMATS`.
    """
    try:
        image: Image.Image = Image.open(file, formats=find_formats())
    except UnidentifiedImageError:
        raise ValueError("cannot identify image file") from None
    if short_side is not None and image.format == "JPEG":
        image.draft(image.mode, (2 * short_side, 2 * short_side))
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation) is not None:
        image = ImageOps.exif_transpose(image)
    return image


def convert_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image of any mode to 8-bit `L` or `RGB`; 16-bit grays keep their order, transparency is dropped.

    Raises:
        ValueError: floating-point pixels, whose range is not known.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; 8 or 16 bits are needed")
    if image.mode.startswith("I"):
        grays = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
        image = Image.fromarray(np.rint(grays / 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
