"""The formats of image files that Pillow may open."""

from functools import cache
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "TGA", "AVIF")
"""Pillow's names of the formats that are read: pixels only, none that starts another program as EPS does."""


@cache
def find_formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this build of Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_lazily(file: BinaryIO) -> Image.Image:
    """Open an image without decoding it.

    Raises:
        ValueError: the file is not an image in one of `FORMATS`.
    """
    try:
        return Image.open(file, formats=find_formats())
    except UnidentifiedImageError:
        raise ValueError("cannot identify image file") from None
