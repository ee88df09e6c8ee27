"""Losses over many anchors and candidates, computed in chunks of anchors."""

from collections.abc import Callable, Sequence

from torch import Tensor

MOST_SIMILARITIES = 1 << 21
"""Largest number of similarities that are scored at once: 8 MiB in float32."""

Scored = tuple[Tensor, dict[str, Tensor]]
"""Mean loss of some anchors, and means of the logged scalars."""


def mean_in_chunks(
    score: Callable[..., Scored], anchors: Sequence[Tensor], *, candidates: int, shared: Sequence[Tensor] = ()
) -> Scored:
    """Compute `score(*anchors)` in chunks of anchors if their table of similarities is large.

    The gradient is computed chunk by chunk together with the loss, and is stored instead of the tables. So target and
    loss need memory for a few tables of `MOST_SIMILARITIES`, independent of batch size and queue length. It is also
    faster if the tables do not fit into the processor's cache.

    Args:
        score: called with rows of each anchor tensor; its loss and logs are means over independent rows.
        anchors: (N, ...) tensors; row i of each belongs to anchor i.
        candidates: number of columns of the table of similarities.
        shared: further tensors that need a gradient, such as parameters of the loss.

    Returns:
        The result of `score` for all anchors.
    """
    count = len(anchors[0])
    rows = max(1, MOST_SIMILARITIES // max(1, candidates))
    if count <= rows:
        return score(*anchors)
    logs: dict[str, Tensor] = {}

    def score_and_log(*chunk: Tensor) -> Tensor:
        loss, values = score(*chunk)
        weight = len(chunk[0]) / count
        for name, value in values.items():
            logs[name] = logs.get(name, 0.0) + weight * value.detach()
        return weight * loss

    from sslzoo.modules.chunked_sum import sum_over_chunks  # imports torch's compiler, which takes seconds

    loss: Tensor = sum_over_chunks(score_and_log, rows, len(anchors), *anchors, *shared)
    return loss, logs
