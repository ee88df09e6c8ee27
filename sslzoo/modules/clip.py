"""Gradient clipping by norm."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

ClipScope = Literal["all", "parameter"]
"""What a gradient norm is taken over: all parameters together, or each parameter by itself."""

EPS = 1e-6
"""Added to a norm before division, as in torch."""


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, scope: ClipScope = "all") -> Tensor:
    """Scale gradients down in place to at most `max_norm`, without waiting for the device.

    Args:
        parameters: parameters without gradient are ignored.
        scope: `all` scales all gradients by one factor; `parameter` clips each gradient by its own norm.

    Returns:
        () float32, the norm over all parameters before clipping; Inf or NaN if a gradient is not finite.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = get_total_norm(gradients)
    if gradients:
        norms = list(torch._foreach_norm(gradients)) if scope == "parameter" else [total] * len(gradients)
        torch._foreach_mul_(gradients, [(max_norm / (norm + EPS)).clamp(max=1) for norm in norms])
    return total
