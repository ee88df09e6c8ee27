"""The sum of a function over chunks of rows and its gradient, without the tables of all rows in memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


@torch.compiler.disable  # type: ignore[untyped-decorator]
def sum_over_chunks(*arguments: Any) -> Any:
    """Call `_SumOverChunks.apply`, without torch.compile."""
    return _SumOverChunks.apply(*arguments)


class _SumOverChunks(torch.autograd.Function):
    """Sum a function over chunks of its arguments; the forward pass computes the gradient as well."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], rows: int, split: int, *inputs: Tensor) -> Tensor:
        anchors, shared = inputs[:split], inputs[split:]
        differentiable = [i for i, part in enumerate(inputs) if ctx.needs_input_grad[3 + i]]
        gradients: dict[int, Tensor] = {}
        total = torch.zeros((), device=inputs[0].device)
        for start in range(0, len(anchors[0]), rows):
            chunk = [
                part[start : start + rows].detach().requires_grad_(i in differentiable)
                for i, part in enumerate(anchors)
            ]
            with torch.set_grad_enabled(bool(differentiable)):
                value = function(*chunk)
            total = total + value.detach()
            if not differentiable:
                continue
            wanted = [[*chunk, *shared][i] for i in differentiable]
            for i, gradient in zip(differentiable, torch.autograd.grad(value, wanted, allow_unused=True), strict=True):
                if gradient is not None:
                    if i not in gradients:
                        gradients[i] = torch.zeros_like(inputs[i])
                    (gradients[i][start : start + rows] if i < split else gradients[i]).add_(gradient)
        ctx.differentiable, ctx.count = list(gradients), len(inputs)
        ctx.save_for_backward(*gradients.values())
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        gradients: list[Tensor | None] = [None] * ctx.count
        for i, gradient in zip(ctx.differentiable, ctx.saved_tensors, strict=True):
            gradients[i] = gradient * outer[0]
        return None, None, None, *gradients
