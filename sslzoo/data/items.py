"""Read the items of a torch data set once, into a table of losslessly encoded images."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from numpy.typing import NDArray
from PIL import Image as Pillow
from rich.console import Console

from sslzoo.data.pixels import MAX_CHANNELS
from sslzoo.runtime.distributed import rank
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import Steps

CHUNK = 256
"""Rows of the table that are written at once."""

Label = int | str | None


def write_items(data: Any, name: str, file: Path) -> Dataset:
    """Write the images and labels of a torch data set to an Arrow file, and open it as a table.

    Args:
        data: has `__len__` and `__getitem__`. An item is an image, (image, label) or a mapping with the keys `image`
            and optionally `label`. An image is a PIL image, a tensor (C, H, W) or (H, W), or an array (H, W, C) or
            (H, W). With 1 or 3 channels it is uint8, uint16, or floating-point numbers in [0, 1], which become uint8;
            with up to 16 others uint8, uint16 or any floating-point numbers. A label is a number, a text or None.
        name: name of the data set in error messages.
        file: written; it must exist as long as the table is used.

    Returns:
        A table with the columns `image` and, if any item has a label, `label`. Its fingerprint is a digest of both.
        The classes are `data.classes`, if they are names for all numbers.

    Raises:
        UserError: an item is something else, or the data set is empty or random.
    """
    if len(data) == 0:
        raise UserError(f"{name}: contains no images")
    _require_repeatable(data, name)
    digest = hashlib.sha256()
    labels: list[Label] = []
    schema = Features(image=Image()).arrow_schema
    with (
        pa.OSFile(str(file), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        Steps(Console(quiet=rank() != 0), f"reading {name}", len(data)) as steps,
    ):
        for first in range(0, len(data), CHUNK):
            cells = []
            for row in range(first, min(first + CHUNK, len(data))):
                content, label = read_item(data, row, name)
                digest.update(len(content).to_bytes(8, "little") + content)
                labels.append(label)
                cells.append({"bytes": content, "path": None})
            writer.write_batch(pa.record_batch([pa.array(cells, schema.field("image").type)], schema=schema))
            steps.advance(len(cells))
    table = Dataset.from_file(str(file))
    if any(label is not None for label in labels):
        feature, values = _encode_labels(labels, getattr(data, "classes", None), name)
        digest.update(json.dumps([values, getattr(feature, "names", None)]).encode())
        table = table.add_column("label", values, feature=feature)
    return Dataset(table.data, table.info, fingerprint=digest.hexdigest()[:32])


def read_item(data: Any, row: int, name: str) -> tuple[bytes, Label]:
    """Read an item as an encoded image and a label.

    Raises:
        UserError: the item is not an image, with or without a label.
    """
    where = f"{name}, item {row}"
    item = data[row]
    if isinstance(item, dict):
        if "image" not in item:
            raise UserError(f"{where}: has no key `image`, only {', '.join(map(str, item))}")
        image, label = item["image"], item.get("label")
    elif isinstance(item, tuple | list):
        if not 1 <= len(item) <= 2:
            raise UserError(f"{where}: has {len(item)} parts; must be an image, or an image and a label")
        image, label = item[0], item[1] if len(item) == 2 else None
    else:
        image, label = item, None
    return encode_image(image, where), _read_label(label, where)


def encode_image(image: Any, where: str) -> bytes:
    """Encode an image without loss: 8-bit grayscale and RGB as PPM, which costs no time, other PIL images as PNG, other
    arrays as .npy.

    Args:
        where: place of the image, for error messages.

    Raises:
        UserError: it is not an image, or its numbers are not pixels.
    """
    if isinstance(image, Pillow.Image):
        if image.mode in ("L", "RGB"):
            return _encode_pixels(np.asarray(image))
        content = io.BytesIO()
        image.save(content, "PNG")
        return content.getvalue()
    if isinstance(image, torch.Tensor):
        pixels = image.detach().cpu().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise UserError(f"{where}: is a {type(image).__name__}, not a PIL image, tensor or array")
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels > MAX_CHANNELS or 0 in pixels.shape:
        layout = f"{'(C, H, W)' if isinstance(image, torch.Tensor) else '(H, W, C)'} with up to {MAX_CHANNELS} channels"
        raise UserError(f"{where}: has shape {tuple(image.shape)}; an image is {layout}, or (H, W)")
    floating = np.issubdtype(pixels.dtype, np.floating)
    if pixels.dtype not in (np.uint8, np.uint16) and not floating:
        raise UserError(f"{where}: has type {pixels.dtype}; pixels are uint8, uint16 or floating-point numbers")
    if channels in (1, 3) and pixels.dtype != np.uint16:
        return _encode_pixels(_round_to_bytes(pixels, where) if floating else pixels)
    return _encode_array(pixels.astype(np.float32) if floating else pixels)


def _encode_array(pixels: NDArray[Any]) -> bytes:
    """Encode pixels (H, W) or (H, W, C) as .npy with the channels first."""
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels))
    return content.getvalue()


def _round_to_bytes(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"{where}: has values from {low:.3g} to {high:.3g}; pixels are in [0, 1], so remove normalization "
            "(dataset.mean and dataset.std are applied in training)"
        )
    rounded: NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    return rounded


def _encode_pixels(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels (H, W), (H, W, 1) or (H, W, 3) as PGM or PPM."""
    color = pixels.ndim == 3 and pixels.shape[2] == 3
    header = f"{'P6' if color else 'P5'} {pixels.shape[1]} {pixels.shape[0]} 255\n"
    return header.encode() + np.ascontiguousarray(pixels).tobytes()


def _read_label(label: Any, where: str) -> Label:
    if isinstance(label, torch.Tensor | np.ndarray | np.generic) and label.ndim == 0:
        label = label.item()
    if isinstance(label, bool) or not isinstance(label, int | str | None):
        raise UserError(f"{where}: has the label {label!r}; must be the number or name of a class, or None")
    return label


def _encode_labels(
    labels: Sequence[Label], classes: object, name: str
) -> tuple[ClassLabel | Value, list[int] | list[str | None]]:
    """Return the type of the label column and its values."""
    kinds = {type(label) for label in labels if label is not None}
    if len(kinds) > 1:
        raise UserError(f"{name}: some labels are numbers and some are texts")
    if kinds == {str}:
        return Value("string"), [None if label is None else str(label) for label in labels]
    numbers = [-1 if label is None else int(label) for label in labels]
    names = list(map(str, classes)) if isinstance(classes, list | tuple) else []
    named = len(set(names)) == len(names) > max(numbers)
    return (ClassLabel(names=names) if named else Value("int64")), numbers


def _require_repeatable(data: Any, name: str) -> None:
    """Check that reading the first item twice returns the same image.

    Raises:
        UserError: it does not, so a random transform is applied.
    """
    first, again = (read_item(data, 0, name)[0] for _ in range(2))
    if first != again:
        raise UserError(
            f"{name}: reading item 0 twice returns two images; remove random transforms, as sslzoo reads each image "
            "once and applies the augmentations of the method"
        )
