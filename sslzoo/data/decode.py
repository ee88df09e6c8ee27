"""An encoded picture as pixels: any colour mode, upright, at most so large."""

import warnings
from typing import Any

import numpy as np
import PIL.Image
from datasets import Image
from numpy.typing import NDArray

_IMAGE = Image()


def decode(value: Any, *, channels: int, short_side: int | None = None) -> NDArray[np.uint8]:
    """Decode a picture: upright by its EXIF orientation, 8 bits, grey or RGB, shrunk with antialiasing.

    Args:
        value: an undecoded cell of a `datasets` column: a mapping of `bytes` and `path`.
        channels: 1 or 3.
        short_side: pixels; a picture whose shorter side is longer is shrunk to it.

    Returns:
        (channels, height, width) uint8.

    Raises:
        ValueError, OSError, SyntaxError: it is not a picture that can be decoded (as Pillow puts it).
    """
    if value is None:
        raise ValueError("the cell is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF, which does no harm
        picture = to_mode(_IMAGE.decode_example(value), "L" if channels == 1 else "RGB")
    if short_side is not None and min(picture.size) > short_side:
        scale = short_side / min(picture.size)
        width, height = (max(short_side, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def to_mode(picture: PIL.Image.Image, mode: str) -> PIL.Image.Image:
    """A picture of any mode as 8-bit `L` or `RGB`; 16-bit greys keep their order, transparency is dropped.

    Raises:
        ValueError: floating-point pixels, whose range is not known.
    """
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; 8 or 16 bits are needed")
    if picture.mode.startswith("I"):
        greys = np.clip(np.asarray(picture, dtype=np.int64), 0, 65535)
        picture = PIL.Image.fromarray(np.rint(greys / 257).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture if picture.mode == mode else picture.convert(mode)
