"""Operations that keep the host from waiting for a GPU while views are created."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


@cache
def device_constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """Return a cached float32 tensor of constants on a device; do not modify it."""
    return torch.tensor(values, device=device)


def apply_where(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Replace the chosen images by `operation(images, *values)`; the others do not change.

    A CPU computes the chosen images only. A GPU computes all, because the host would have to wait for their count.

    Args:
        images: (B, C, H, W), overwritten on a CPU.
        chosen: (B,) bool.
        values: (B, ...) further arguments of `operation`, one row per image.
    """
    if images.device.type != "cpu":
        return torch.where(chosen.view(-1, 1, 1, 1), operation(images, *values), images)
    rows = chosen.nonzero()[:, 0]
    return images.index_copy_(0, rows, operation(images[rows], *(value[rows] for value in values)))
