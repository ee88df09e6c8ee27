"""Read images with all their channels and in their own type: .npy, TIFF and GeoTIFF, 16-bit grayscale."""

import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from sslzoo.data.formats import open_lazily
from sslzoo.data.pixels import MAX_CHANNELS, Pixels, name_dtype

NPY = (b"\x93NUMPY",)
"""First bytes of an .npy file."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF file; the last two are those of BigTIFF."""
BITS, SAMPLES = 258, 277
"""Tags of TIFF: bits of each sample, and samples of each pixel."""
MAX_HEADER = 10_000
"""Longest header of an .npy file in bytes, as in `np.load`."""


class MissingReader(ValueError):
    """An image needs a package that is not installed."""


class UnknownLayout(ValueError):
    """The shape of an array does not show which axis is that of the channels."""


def is_npy(file: BinaryIO) -> bool:
    """Whether a file, which is at its start, is an .npy file."""
    return _starts_with(file, NPY)


def read_native(file: BinaryIO, channels: int = 0) -> Pixels | None:
    """Read an image that has other channels or more bits than an 8-bit image in RGB.

    - .npy: see `read_npy`.
    - TIFF with several channels of more than 8 bits, or with more than 4 channels, by rasterio.
    - TIFF of 2 to 16 grayscale pages of equal size: the pages are channels, those of 8 bits only if there are
      `channels` of them.
    - Other images of one channel of more than 8 bits, by Pillow.

    Args:
        file: at its start, where it is left if the result is None.
        channels: expected number; 0 if it is not known.

    Returns:
        (C, H, W) of a type in `Dtype`; None for other images.

    Raises:
        MissingReader: rasterio is not installed.
        ValueError, OSError, SyntaxError: the file is damaged, or contains NaN or Inf.
    """
    if is_npy(file):
        return read_npy(file, channels)
    if _starts_with(file, TIFF):
        samples, bits = _read_tiff_tags(file)
        if samples > 4 or (samples > 1 and bits > 8):
            return _read_by_rasterio(file, f"{samples} channels of {bits} bits")
    image = open_lazily(file)
    if image.mode.startswith(("I", "F")) or _count_pages(image) == channels > 1:
        return _read_pages(image)
    file.seek(0)
    return None


def read_npy(file: BinaryIO, channels: int = 0) -> Pixels:
    """Read an array (H, W), (C, H, W) or (H, W, C); `find_layout` distinguishes the last two. Nothing is unpickled.

    Args:
        channels: expected number; 0 if it is not known.

    Returns:
        (C, H, W) of a type in `Dtype`.

    Raises:
        ValueError: the array has another shape, is not of real numbers, is damaged, or contains NaN or Inf.
    """
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file, max_header_size=MAX_HEADER)
    if name_dtype(dtype) is None:
        raise ValueError(f"its array is of {dtype}, not of numbers")
    layout = find_layout(shape, channels)
    _require_size(shape)
    start = file.tell()
    stated, found = int(np.prod(shape)) * dtype.itemsize, file.seek(0, 2) - start
    if found != stated:
        raise ValueError(f"its header states {stated} bytes, and {found} follow")
    file.seek(0)
    array = np.lib.format.read_array(file, allow_pickle=False, max_header_size=MAX_HEADER)
    return _store(array[None] if layout is None else array.transpose(layout))


def find_layout(shape: tuple[int, ...], channels: int = 0) -> tuple[int, int, int] | None:
    """Find the axes of channels, rows and columns of an array.

    The channels are the first or the last axis: the one of `channels` entries, or of at most 16 if that is 0.

    Returns:
        None for (H, W).

    Raises:
        UnknownLayout: neither axis fits, or both do.
    """
    if len(shape) == 2:
        return None
    if len(shape) != 3:
        raise UnknownLayout(f"its shape is {shape}; must be (C, H, W), (H, W, C) or (H, W)")
    fits = [axis for axis in (0, 2) if (shape[axis] == channels if channels else shape[axis] <= MAX_CHANNELS)]
    if not fits:
        wanted = f"the {channels} channels of the data set" if channels else f"at most {MAX_CHANNELS} channels"
        raise UnknownLayout(f"its shape is {shape}; neither the first nor the last axis is that of {wanted}")
    if len(fits) == 2:
        hint = "" if channels else "; set --dataset.channels"
        raise UnknownLayout(f"its shape is {shape}; the channels may be the first or the last axis{hint}")
    return (0, 1, 2) if fits == [0] else (2, 0, 1)


def _read_tiff_tags(file: BinaryIO) -> tuple[int, int]:
    """Return the samples of each pixel and the bits of each sample; leave the file at its start."""
    header = file.read(8)
    if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        header += file.read(8)
    tags = ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    file.seek(0)
    bits = tags.get(BITS, 1)
    return int(tags.get(SAMPLES, 1)), max(bits) if isinstance(bits, tuple) else int(bits)


def _read_by_rasterio(file: BinaryIO, what: str) -> Pixels:
    """Read a TIFF from memory, so that GDAL interprets no path and reads no file beside it."""
    try:
        from rasterio.errors import NotGeoreferencedWarning
        from rasterio.io import MemoryFile
    except ImportError:
        raise MissingReader(f"a TIFF of {what} needs rasterio; `pip install 'sslzoo[geo]'`") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile(file.read()) as memory, memory.open(driver="GTiff") as source:
            _require_channels(source.count, "channels")
            _require_size((source.count, *source.shape))
            return _store(source.read())


def _count_pages(image: Image.Image) -> int:
    """Count the pages of a TIFF; 1 for other images, and if its first page is not grayscale of 8 or more bits."""
    gray = image.mode == "L" or image.mode.startswith(("I", "F"))
    return getattr(image, "n_frames", 1) if image.format == "TIFF" and gray else 1


def _read_pages(image: Image.Image) -> Pixels:
    """Read the pages of a grayscale image as channels; only the first one if they differ in size or type."""
    count, mode, size = _count_pages(image), image.mode, image.size
    _require_channels(count, "pages")
    pages: list[Pixels] = []
    for number in range(count):
        if number:
            image.seek(number)
        if (image.mode, image.size) != (mode, size):
            return _store(pages[0][None])
        page = np.asarray(ImageOps.exif_transpose(image))
        pages.append(page.astype(np.uint16) if mode == "I" and image.format != "TIFF" else page)  # PNG and PGM
    return _store(np.stack(pages))


def _store(array: Pixels) -> Pixels:
    """Convert numbers to a type in `Dtype`, contiguous.

    Raises:
        ValueError: a number is NaN or Inf.
    """
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array, dtype=name_dtype(array.dtype))
    if stored.dtype == np.float32 and not np.isfinite(stored).all():
        raise ValueError("its pixels contain NaN or Inf")
    return stored


def _require_channels(count: int, what: str) -> None:
    if count > MAX_CHANNELS:
        raise ValueError(f"it has {count} {what}; at most {MAX_CHANNELS} channels are supported")


def _require_size(shape: tuple[int, ...]) -> None:
    """Check that an image is neither empty nor larger than the largest RGB image that Pillow opens.

    Raises:
        ValueError: it is.
    """
    values = int(np.prod(shape))
    if values == 0:
        raise ValueError(f"its shape is {shape}; it has no pixels")
    limit = 6 * (Image.MAX_IMAGE_PIXELS or values)
    if values > limit:
        raise ValueError(f"its {values} values exceed the limit of {limit}; it may be a decompression bomb")


def _starts_with(file: BinaryIO, signatures: tuple[bytes, ...]) -> bool:
    start = file.read(max(map(len, signatures)))
    file.seek(0)
    return start.startswith(signatures)
