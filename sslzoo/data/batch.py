"""What a loader hands over: images as they are stored, before any view is made of them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class AugmentationParameters(NamedTuple):
    """What was drawn for the views of B images."""

    box: Tensor
    """(B, 4) int64: top, left, height, width of a random crop, in pixels of the image."""
    flip: Tensor
    """(B,) bool."""
    jitter: Tensor
    """(B,) bool."""
    order: Tensor
    """(B, 4) int64: the jitter's operations, 0 brightness, 1 contrast, 2 saturation, 3 hue, first to last."""
    factors: Tensor
    """(B, 4) float32: factor of brightness, contrast and saturation, and the turn of the hue."""
    grayscale: Tensor
    """(B,) bool."""
    blur: Tensor
    """(B,) bool."""
    sigma: Tensor
    """(B,) float32, pixels of the view."""
    solarize: Tensor
    """(B,) bool."""
    angle: Tensor
    """(B,) float32, degrees counter-clockwise."""


class Batch(NamedTuple):
    """A batch of B stored images, padded to the largest of them."""

    pixels: Tensor
    """(B, C, H, W) uint8; image i fills the top left `sizes[i]` pixels, the rest is zero."""
    sizes: Tensor
    """(B, 2) int64: height and width of each image."""
    ids: Tensor
    """(B,) int64: the image's number in its data set, the key of its random draws."""
    labels: Tensor
    """(B,) int64, -1 where there is no label."""
    draws: tuple[AugmentationParameters, ...] = ()
    """For each view of a method, where they were drawn ahead."""

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; asynchronous where the host memory is pinned."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The batch in pinned host memory, for asynchronous copies; itself where there is no GPU."""
        return self._each(Tensor.pin_memory) if torch.cuda.is_available() else self

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        draws = tuple(AugmentationParameters(*map(change, drawn)) for drawn in self.draws)
        return Batch(change(self.pixels), change(self.sizes), change(self.ids), change(self.labels), draws)
