"""The loss of a batch against a queue, forward and backward, beside lightly's.

    python benchmarks/loss.py
    python benchmarks/loss.py --batch 512 --queues 4096 65536

lightly has the loss of MoCo alone; soft targets written as papers' code has them, whole tables at each step, are here
for comparison.
"""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # it would ask a server

import torch
from rich.console import Console
from rounds import DEVICE, Comparison, arguments, conditions, show
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny

REPEATS, DIM = 7, 128


def comparison(batch: int, queue: int) -> Comparison:
    """MoCo's loss and ASCL's, of queries and keys of 128 numbers."""
    from lightly.loss import NTXentLoss

    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(batch, DIM, generator=generator).to(DEVICE) for _ in range(2))
    query.requires_grad_()
    lightly = NTXentLoss(temperature=0.1, memory_bank_size=(queue, DIM)).to(DEVICE)
    flags = ("--method.queue-size", str(queue), "--method.projector.out", str(DIM), "--loss.temperature", "0.1")
    moco: Any = Tiny.of("--method", "moco", *flags).method().to(DEVICE)
    ascl: Any = Tiny.of("--method", "ascl", *flags, "--target.neighbors", "1").method().to(DEVICE)
    candidates = ascl.queue.keys

    def tables() -> Tensor:
        q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
        with torch.no_grad():
            near = (k @ candidates.T / 0.05).softmax(dim=1)
            sure = 1 + (near * (near + 1e-12).log()).sum(dim=1) / torch.tensor(float(queue)).log()
            labels = torch.cat([torch.ones_like(near[:, :1]), (sure[:, None] * near).clamp(max=1)], dim=1)
            labels = labels / labels.sum(dim=1, keepdim=True)
        logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ candidates.T], dim=1) / 0.1
        return -(labels * logits.log_softmax(dim=1)).sum(dim=1).mean()

    def through(loss: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(), query)

    torch.testing.assert_close(tables(), ascl.contrast(query, key).loss, rtol=1e-4, atol=1e-4)
    return Comparison(
        f"loss and its gradient, batch {batch}, queue {queue:,}",
        "",
        1,
        {
            "lightly, NTXentLoss with a memory bank": through(lambda: lightly(query, key)),
            "sslzoo, MoCo": through(lambda: moco.contrast(query, key).loss),
            "ASCL's target, whole tables": through(tables),
            "sslzoo, ASCL": through(lambda: ascl.contrast(query, key).loss),
        },
        memory=True,
        notes=[
            f"one table of batch x queue is {4 * batch * queue / 2**20:,.0f} MiB; lightly's call also fills its queue"
        ],
    )


def main() -> None:
    """Print a table for each size of the queue."""
    asked = arguments(__doc__, batch=256, queues=(4096, 65536))
    console = Console()
    for queue in asked.queues:
        show(console, comparison(asked.batch, queue), REPEATS)
    console.print(conditions(REPEATS))


if __name__ == "__main__":
    main()
