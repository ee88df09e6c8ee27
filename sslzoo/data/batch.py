"""A batch of stored images, and the augmentation parameters of its views."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class AugmentationParameters(NamedTuple):
    """The random parameters of one view of each of B images."""

    box: Tensor
    """(B, 4) int64: top, left, height and width of a random crop, in pixels of the image."""
    flip: Tensor
    """(B,) bool."""
    jitter: Tensor
    """(B,) bool."""
    order: Tensor
    """(B, 4) int64: order of the jitter's operations: 0 brightness, 1 contrast, 2 saturation, 3 hue."""
    factors: Tensor
    """(B, 4) float32: factors of brightness, contrast and saturation, and the hue shift."""
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
    brightness: Tensor
    """(B, C) float32: factor of each channel to which color operations do not apply; (B, 0) for grayscale and RGB."""


class Batch(NamedTuple):
    """A batch of B stored images, padded to the largest of them."""

    pixels: Tensor
    """(B, C, H, W) uint8, uint16 or float32; image i fills the top left `sizes[i]` pixels, the others are zero."""
    sizes: Tensor
    """(B, 2) int64: height and width of each image."""
    ids: Tensor
    """(B,) int64: index of the image in its data set, which keys its random numbers."""
    labels: Tensor
    """(B,) int64, -1 for an image without label."""
    parameters: tuple[AugmentationParameters, ...] = ()
    """Parameters of each view, if they were sampled ahead of time; otherwise empty."""

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device; asynchronous if its memory is pinned."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Copy the batch to pinned memory for asynchronous transfers; return it unchanged without a GPU."""
        return self._map(Tensor.pin_memory) if torch.cuda.is_available() else self

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        parameters = tuple(AugmentationParameters(*map(function, view)) for view in self.parameters)
        return Batch(function(self.pixels), function(self.sizes), function(self.ids), function(self.labels), parameters)
