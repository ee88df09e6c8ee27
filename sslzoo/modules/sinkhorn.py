"""Balanced assignments of images to prototypes."""

import torch
import torch.distributed as dist
from torch import Tensor

from sslzoo.runtime.distributed import world_size


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int, counted: Tensor | None = None) -> Tensor:
    """Compute soft assignments Q that maximize tr(Q scores^T) + epsilon H(Q), with Sinkhorn-Knopp iterations.

    Each iteration normalizes the columns of Q, over the rows of all processes, to equal sums, and then each row to 1.
    It works on logarithms in float32, which avoids overflow and underflow. Source: Caron et al., NeurIPS 2020 (arXiv
    2006.09882), equations 3 to 5.

    Args:
        scores: (N, K), similarities of this process's N images to K prototypes.
        counted: (N,) 1 for rows that count in the column sums, 0 for rows that do not; None counts all.

    Returns:
        (N, K) float32, rows sum to 1.
    """
    logits = scores.float() / epsilon
    present = logits if counted is None else logits + counted.log()[:, None]
    rows = torch.zeros_like(logits[:, :1])
    shared = logits
    for _ in range(iterations):
        shared = logits - _log_sum_exp(present + rows)
        rows = -shared.logsumexp(dim=1, keepdim=True)
    return shared.softmax(dim=1)


def _log_sum_exp(logits: Tensor) -> Tensor:
    """Log-sum-exp of (N, K) to (1, K), over the rows of all processes."""
    largest = logits.amax(dim=0, keepdim=True)
    if world_size() > 1:
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    total = (logits - largest).exp().sum(dim=0, keepdim=True)
    if world_size() > 1:
        dist.all_reduce(total)
    return largest + total.log()
