"""Losses over many anchors and candidates, a few anchors at a time."""

from collections.abc import Callable, Sequence

from torch import Tensor

MOST_SIMILARITIES = 1 << 21
"""Entries of the largest table of anchors and candidates that is scored at once: 8 MiB in float32."""

Scored = tuple[Tensor, dict[str, Tensor]]
"""Mean loss of some anchors, and means of what is logged."""


def mean_in_chunks(
    score: Callable[..., Scored], anchors: Sequence[Tensor], *, candidates: int, shared: Sequence[Tensor] = ()
) -> Scored:
    """`score(*anchors)`, computed for a few anchors at a time where their table of similarities would be large.

    Then the gradient is computed along with the loss, chunk by chunk, and kept in place of the tables: a target and a
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

    def score_and_log(*chunk: Tensor) -> Tensor:
        loss, values = score(*chunk)
        share = len(chunk[0]) / count
        for name, value in values.items():
            logs[name] = logs.get(name, 0.0) + share * value.detach()
        return share * loss

    from sslzoo.modules.chunked_sum import sum_over_chunks  # imports torch's compiler, which takes seconds

    loss: Tensor = sum_over_chunks(score_and_log, rows, len(anchors), *anchors, *shared)
    return loss, logs
