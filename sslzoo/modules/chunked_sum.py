"""The sum of a function over chunks of rows, and its gradient, without the tables of all rows at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


@torch.compiler.disable  # type: ignore[untyped-decorator]
def sum_over_chunks(*arguments: Any) -> Any:
    """`_SumOverChunks.apply`, which torch.compile leaves as it is."""
    return _SumOverChunks.apply(*arguments)


class _SumOverChunks(torch.autograd.Function):
    """The sum of a function over chunks of its arguments; the gradient is ready when the sum is."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], rows: int, split: int, *inputs: Tensor) -> Tensor:
        anchors, shared = inputs[:split], inputs[split:]
        moving = [i for i, part in enumerate(inputs) if ctx.needs_input_grad[3 + i]]
        gradients: dict[int, Tensor] = {}
        total: Tensor | None = None
        for start in range(0, len(anchors[0]), rows):
            chunk = [part[start : start + rows].detach().requires_grad_(i in moving) for i, part in enumerate(anchors)]
            with torch.set_grad_enabled(bool(moving)):
                value = function(*chunk)
            total = value.detach() if total is None else total + value.detach()
            if not moving:
                continue
            wanted = [[*chunk, *shared][i] for i in moving]
            for i, gradient in zip(moving, torch.autograd.grad(value, wanted, allow_unused=True), strict=True):
                if gradient is not None:
                    if i not in gradients:
                        gradients[i] = torch.zeros_like(inputs[i])
                    (gradients[i][start : start + rows] if i < split else gradients[i]).add_(gradient)
        ctx.moving, ctx.count = list(gradients), len(inputs)
        ctx.save_for_backward(*gradients.values())
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        gradients: list[Tensor | None] = [None] * ctx.count
        for i, gradient in zip(ctx.moving, ctx.saved_tensors, strict=True):
            gradients[i] = gradient * outer[0]
        return None, None, None, *gradients
