"""What a loader hands over: pictures as they are stored, before any view is made of them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """A batch of B stored pictures, padded to the largest of them."""

    pixels: Tensor
    """(B, C, H, W) uint8; picture i fills the top left `sizes[i]` pixels, the rest is zero."""
    sizes: Tensor
    """(B, 2) int64: height and width of each picture."""
    ids: Tensor
    """(B,) int64: the picture's number in its data set, the key of its random draws."""
    labels: Tensor
    """(B,) int64, -1 where there is no label."""

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; asynchronous where the host memory is pinned."""
        return Batch(*(part.to(device, non_blocking=True) for part in self))
