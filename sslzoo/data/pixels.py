"""Types and ranges of pixels."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MAX_CHANNELS = 16
"""Largest number of channels of an image."""

Dtype = Literal["uint8", "uint16", "float32"]
"""Type of stored pixels."""

Pixels = NDArray[Any]
"""Pixels of an image or of several, of a type in `Dtype`."""

RANGES: dict[str, tuple[float, float]] = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
"""Smallest and largest value of pixels, which become 0 and 1."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB images in [0, 1]."""


def scale_pixels(pixels: Pixels, value_range: tuple[float, ...]) -> NDArray[np.float32]:
    """Scale stored pixels to [0, 1]; values outside of the range are clipped.

    Args:
        value_range: smallest and largest value.
    """
    low, high = value_range
    scaled: NDArray[np.float32] = np.clip((pixels.astype(np.float32) - low) / (high - low), 0, 1, dtype=np.float32)
    return scaled


def name_dtype(dtype: np.dtype[Any]) -> Dtype | None:
    """Return the type in which pixels of a file are stored: their own, or float32 for other numbers.

    Returns:
        None if the type is not one of real numbers.
    """
    if dtype.kind not in "uif":
        return None
    return {"u1": "uint8", "u2": "uint16"}.get(f"{dtype.kind}{dtype.itemsize}", "float32")  # type: ignore[return-value]
