"""Losses over many anchors and candidates, a few anchors at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

MOST_SIMILARITIES = 1 << 21
"""Entries of the largest table of anchors and candidates that is scored at once: 8 MiB in float32."""

Scored = tuple[Tensor, dict[str, Tensor]]
"""Mean loss of some anchors, and means of what is logged."""


def mean_in_pieces(
    score: Callable[..., Scored], anchors: Sequence[Tensor], *, candidates: int, shared: Sequence[Tensor] = ()
) -> Scored:
    """`score(*anchors)`, computed for a few anchors at a time where their table of similarities would be large.

    Then the gradient is computed along with the loss, piece by piece, and kept in place of the tables: a target and a
    loss of several steps need a few tables of `MOST_SIMILARITIES`, whatever the batch and the queue. It pays in time as
    well where tables would not fit into the processor's cache.

    Args:
        score: takes rows of each anchor tensor; its loss and logs are means over rows that do not know of each other.
        anchors: (N, ...) tensors, row i of each belongs to anchor i.
        candidates: columns of the table of similarities.
        shared: what else the gradient goes through, such as parameters of the loss.

    Returns:
        As `score` does, for all anchors.
    """
    count = len(anchors[0])
    rows = max(1, MOST_SIMILARITIES // max(1, candidates))
    if count <= rows:
        return score(*anchors)
    logs: dict[str, Tensor] = {}

    def score_and_log(*piece: Tensor) -> Tensor:
        loss, values = score(*piece)
        share = len(piece[0]) / count
        for name, value in values.items():
            logs[name] = logs.get(name, 0.0) + share * value.detach()
        return share * loss

    loss: Tensor = _sum_over_pieces(score_and_log, rows, len(anchors), *anchors, *shared)
    return loss, logs


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _sum_over_pieces(*arguments: Any) -> Any:
    return _SumOverPieces.apply(*arguments)


class _SumOverPieces(torch.autograd.Function):
    """The sum of a function over pieces of its arguments; the gradient is ready when the sum is."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], rows: int, split: int, *inputs: Tensor) -> Tensor:
        anchors, shared = inputs[:split], inputs[split:]
        moving = [i for i, part in enumerate(inputs) if ctx.needs_input_grad[3 + i]]
        gradients: dict[int, Tensor] = {}
        total = torch.zeros((), device=inputs[0].device)
        for start in range(0, len(anchors[0]), rows):
            piece = [part[start : start + rows].detach().requires_grad_(i in moving) for i, part in enumerate(anchors)]
            with torch.set_grad_enabled(bool(moving)):
                value = function(*piece)
            total += value.detach()
            if not moving:
                continue
            wanted = [[*piece, *shared][i] for i in moving]
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
