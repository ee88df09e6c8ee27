"""Decode an image to pixels of a given color mode and maximum size."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from datasets import Image
from numpy.typing import NDArray
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

_IMAGE = Image()


def decode(value: Any, *, channels: int, short_side: int | None = None) -> NDArray[np.uint8]:
    """Decode an image: upright by its EXIF orientation, 8 bits, grayscale or RGB, shrunk with antialiasing.

    A JPEG that is shrunk to a quarter or less is decoded at a lower resolution, at least twice the final size.

    Args:
        value: an undecoded cell of a `datasets` column: a mapping of `bytes` and `path`.
        channels: 1 or 3.
        short_side: pixels; an image whose shorter side is longer is shrunk to this length.

    Returns:
        (channels, height, width) uint8.

    Raises:
        ValueError, OSError, SyntaxError: the image cannot be decoded; the message is Pillow's.
    """
    if value is None:
        raise ValueError("the cell is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF data is harmless
        image = open_scaled(value, short_side) or _IMAGE.decode_example(value)
        image = convert_mode(image, "L" if channels == 1 else "RGB")
    pixels = torch.from_numpy(np.array(image))
    pixels = pixels[None] if channels == 1 else pixels.permute(2, 0, 1)
    if short_side is not None and min(image.size) > short_side:
        scale = short_side / min(image.size)
        width, height = (max(short_side, round(side * scale)) for side in image.size)
        pixels = resize(pixels, [height, width], InterpolationMode.BICUBIC, antialias=True)  # faster than Pillow's
    return np.ascontiguousarray(pixels.numpy())


def open_scaled(value: Any, short_side: int | None) -> PIL.Image.Image | None:
    """Open a large local JPEG at 1/2, 1/4 or 1/8 of its size, upright; return None if this does not apply."""
    content, path = value.get("bytes"), value.get("path")
    if short_side is None or (content is None and not (path and Path(path).is_file())):
        return None
    image = PIL.Image.open(path if content is None else io.BytesIO(content))
    if image.format != "JPEG" or image.draft(image.mode, (2 * short_side, 2 * short_side)) is None:
        return None
    return PIL.ImageOps.exif_transpose(image)


def convert_mode(image: PIL.Image.Image, mode: str) -> PIL.Image.Image:
    """Convert an image of any mode to 8-bit `L` or `RGB`; 16-bit grays keep their order, transparency is dropped.

    Raises:
        ValueError: floating-point pixels, whose range is not known.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; 8 or 16 bits are needed")
    if image.mode.startswith("I"):
        grays = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
        image = PIL.Image.fromarray(np.rint(grays / 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
