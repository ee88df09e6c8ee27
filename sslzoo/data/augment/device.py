"""What keeps the host from waiting for a GPU while views are made."""

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

    On a CPU only the chosen ones are computed. A GPU computes all, as the host would have to wait for their count.

    Args:
        images: (B, C, H, W), overwritten on a CPU.
        chosen: (B,) bool.
        numbers: (B, ...) that belong to the images.
    """
    if images.device.type != "cpu":
        return torch.where(chosen.view(-1, 1, 1, 1), operation(images, *numbers), images)
    these = chosen.nonzero()[:, 0]
    return images.index_copy_(0, these, operation(images[these], *(number[these] for number in numbers)))
