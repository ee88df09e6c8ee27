"""What keeps the host from waiting for a GPU while views are made."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


@cache
def constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """Numbers as a float32 tensor on a device, sent there once; not to be written to."""
    return torch.tensor(values, device=device)


def change(pictures: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *numbers: Tensor) -> Tensor:
    """`operation(pictures, *numbers)` in the place of the chosen pictures, the others as they are.

    On a CPU only the chosen ones are computed. A GPU computes all, as the host would have to wait for their count.

    Args:
        pictures: (B, C, H, W), overwritten on a CPU.
        chosen: (B,) bool.
        numbers: (B, ...) that belong to the pictures.
    """
    if pictures.device.type != "cpu":
        return torch.where(chosen.view(-1, 1, 1, 1), operation(pictures, *numbers), pictures)
    these = chosen.nonzero()[:, 0]
    return pictures.index_copy_(0, these, operation(pictures[these], *(number[these] for number in numbers)))
