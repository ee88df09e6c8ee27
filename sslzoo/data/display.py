"""Show images of any channels and types."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslzoo.data.augment.channels import find_color_channels
from sslzoo.data.pixels import Pixels

PERCENTILES = (2, 98)
"""Percentiles of a channel's values that are shown as black and white."""


@dataclass(frozen=True)
class Display:
    """How an image is shown."""

    channels: list[int]
    """One for gray, or three for red, green and blue."""
    black: NDArray[np.float32]
    """The value of each of them that is shown as 0."""
    white: NDArray[np.float32]
    """The value of each of them that is shown as 1."""

    def render(self, pixels: Pixels) -> NDArray[np.float32]:
        """Render pixels (C, h, w) as an image (h, w, 1 or 3) in [0, 1]."""
        shown = np.moveaxis(pixels[self.channels].astype(np.float32), 0, 2)
        rendered: NDArray[np.float32] = ((shown - self.black) / (self.white - self.black)).clip(0, 1)
        return rendered

    def render_bytes(self, pixels: Pixels) -> NDArray[np.uint8]:
        """Render pixels (C, h, w) as an image (h, w, 1 or 3) of 8 bits."""
        rendered: NDArray[np.uint8] = np.rint(255 * self.render(pixels)).astype(np.uint8)
        return rendered


def is_shown_unchanged(pixels: Pixels, rgb: tuple[int, int, int] | None) -> bool:
    """Whether an image (C, h, w) is grayscale or RGB of 8 bits."""
    return pixels.dtype == np.uint8 and find_color_channels(len(pixels), rgb) is None


def choose_display(pixels: Pixels, rgb: tuple[int, int, int] | None = None) -> Display:
    """Choose how to show an image: its RGB channels, or else its first channel as gray.

    The values of each channel are stretched between the percentiles in `PERCENTILES`, unless the image is grayscale or
    RGB of 8 bits.

    Args:
        pixels: (C, h, w).
        rgb: channels of red, green and blue, see `find_color_channels`.
    """
    chosen = find_color_channels(len(pixels), rgb)
    channels = list(chosen or [0]) if chosen is not None else list(range(len(pixels)))
    if is_shown_unchanged(pixels, rgb):
        zeros = np.zeros(len(channels), np.float32)
        return Display(channels, zeros, zeros + 255)
    black, white = np.percentile(pixels[channels].reshape(len(channels), -1), PERCENTILES, axis=1).astype(np.float32)
    return Display(channels, black, np.where(white > black, white, black + 1))
