"""Operations that keep the host from waiting for a GPU while views are created."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


@cache
def device_constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """Numbers as a float32 tensor on a device, sent there once; not to be written to."""
    return torch.tensor(values, device=device)


def apply_where(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *numbers: Tensor) -> Tensor:
    """`operation(images, *numbers)` in the place of the chosen images, the others as they are.

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
