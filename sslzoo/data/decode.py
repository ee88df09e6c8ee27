"""Decode an image to pixels of given channels, type and maximum size."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from datasets.utils.file_utils import is_local_path, xopen
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torchvision.io import decode_jpeg
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from sslzoo.data.arrays import is_npy, read_native
from sslzoo.data.formats import open_lazily
from sslzoo.data.pixels import Dtype, Pixels, name_dtype


def decode(
    cell: Any, *, channels: int, dtype: Dtype = "uint8", short_side: int | None = None, folder: Path | None = None
) -> Pixels:
    """Decode an image: upright by its EXIF orientation, shrunk with antialiasing.

    Images of 8 bits become grayscale or RGB if `channels` is 1 or 3; other images must have these channels and this
    type. A JPEG that is shrunk to a quarter or less is decoded at a lower resolution, at least twice the final size.

    Args:
        cell: an undecoded cell of a `datasets` column: a mapping of `bytes` and `path`.
        channels: 1 to 16.
        dtype: type of the pixels.
        short_side: pixels; an image whose shorter side is longer is shrunk to this length.
        folder: see `open_file`.

    Returns:
        (channels, height, width) of `dtype`.

    Raises:
        ValueError, OSError, SyntaxError: the image cannot be decoded; the message is Pillow's.
    """
    with _open_cell(cell, folder) as file:
        if is_converted(channels, dtype) and not is_npy(file):
            pixels = _read_converted(file, "L" if channels == 1 else "RGB", short_side)
        else:
            pixels = torch.from_numpy(_read_unconverted(file, channels, dtype))
    if short_side is not None and min(pixels.shape[1:]) > short_side:
        pixels = _shrink(pixels, short_side)
    return np.ascontiguousarray(pixels.numpy())


def is_converted(channels: int, dtype: Dtype) -> bool:
    """Whether images are converted to these channels and this type."""
    return channels in (1, 3) and dtype == "uint8"


def detect_pixels(cell: Any, channels: int = 0, folder: Path | None = None) -> tuple[int, Dtype]:
    """Return the channels and the type of the pixels of an image; 3 and uint8 for one of 8 bits that Pillow reads.

    Args:
        channels: expected number; 0 if it is not known.
        folder: see `open_file`.

    Raises:
        ValueError, OSError, SyntaxError: the image cannot be decoded.
    """
    with _open_cell(cell, folder) as file:
        native = read_native(file, channels)
    if native is None:
        return channels or 3, "uint8"
    dtype = name_dtype(native.dtype)
    assert dtype is not None
    return len(native), dtype


@contextmanager
def _open_cell(cell: Any, folder: Path | None) -> Iterator[BinaryIO]:
    """Open the encoded image of a cell without warnings of Pillow."""
    if cell is None:
        raise ValueError("the cell is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF data is harmless
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow refuses images of twice this size
        with open_file(cell, folder) as file:
            yield file


def _read_converted(file: BinaryIO, mode: str, short_side: int | None) -> Tensor:
    """Read an image as (1, H, W) or (3, H, W), a whole JPEG with torchvision's decoder: the pixels are the same."""
    image, reduced = open_reduced(file, short_side)
    if image.format == "JPEG" and image.mode == mode and not reduced and not _has_orientation(image):
        pixels = _decode_jpeg(file)
        if pixels is not None:
            return pixels
    array = np.array(convert_mode(_load_upright(image), mode))
    return torch.from_numpy(array[None] if mode == "L" else array.transpose(2, 0, 1))


def open_reduced(file: BinaryIO, short_side: int | None) -> tuple[Image.Image, bool]:
    """Open an image without decoding it, a large JPEG at 1/2, 1/4 or 1/8 of its size.

    Returns:
        The image, and whether it is smaller than the file's.

    Raises:
        ValueError: the file is not an image in one of `FORMATS`.
    """
    image = open_lazily(file)
    whole = image.size
    if short_side is not None and image.format == "JPEG":
        image.draft(image.mode, (2 * short_side, 2 * short_side))
    return image, image.size != whole


def _decode_jpeg(file: BinaryIO) -> Tensor | None:
    """Decode a JPEG with torchvision, which copies the pixels less often than Pillow; None if it cannot."""
    file.seek(0)
    try:
        pixels: Tensor = decode_jpeg(torch.frombuffer(file.read(), dtype=torch.uint8))
    except RuntimeError:
        return None
    return pixels


def _read_unconverted(file: BinaryIO, channels: int, dtype: Dtype) -> Pixels:
    """Read an image that must have these channels and this type.

    Raises:
        ValueError: it has others.
    """
    pixels = read_native(file, channels)
    if pixels is None:
        image = _load_upright(open_lazily(file))
        bands = np.asarray(image if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") else image.convert("RGB"))
        pixels = np.ascontiguousarray(bands.transpose(2, 0, 1) if bands.ndim == 3 else bands[None])
    if (len(pixels), pixels.dtype.name) != (channels, dtype):
        found = f"{len(pixels)} of {pixels.dtype.name}"
        raise ValueError(f"its channels are {found}, those of the data set {channels} of {dtype}")
    return pixels


def _shrink(pixels: Tensor, short_side: int) -> Tensor:
    """Shrink an image (C, H, W), so that its shorter side has this many pixels."""
    scale = short_side / min(pixels.shape[1:])
    size = [max(short_side, round(side * scale)) for side in pixels.shape[1:]]
    sharp = pixels if pixels.dtype == torch.uint8 else pixels.float()
    shrunk: Tensor = resize(sharp, size, InterpolationMode.BICUBIC, antialias=True)  # faster than Pillow's
    if pixels.dtype == torch.uint8:
        return shrunk
    shrunk = shrunk.clamp(sharp.min(), sharp.max())  # bicubic interpolation overshoots
    return shrunk if pixels.dtype == torch.float32 else shrunk.round().to(pixels.dtype)


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


def _has_orientation(image: Image.Image) -> bool:
    """Whether EXIF says how to rotate an image."""
    return image.getexif().get(ExifTags.Base.Orientation) is not None


def _load_upright(image: Image.Image) -> Image.Image:
    """Decode an image and rotate it as EXIF says."""
    image.load()
    return ImageOps.exif_transpose(image) if _has_orientation(image) else image


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
