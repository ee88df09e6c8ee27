"""Loss of a batch against a queue, forward and backward, compared with lightly.

    python benchmarks/loss.py
    python benchmarks/loss.py --batch 512 --queues 4096 65536

lightly has only the loss of MoCo. The soft target is compared with an implementation as in the code of papers, which
stores the full tables at each step.
"""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # otherwise it contacts a server

import torch
from rich.console import Console
from rounds import DEVICE, Comparison, describe_conditions, parse_arguments, show
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny

REPEATS, DIM = 7, 128


def create_comparison(batch: int, queue: int) -> Comparison:
    """Compare the losses of MoCo and ASCL for queries and keys of dimension 128."""
    from lightly.loss import NTXentLoss

    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(batch, DIM, generator=generator).to(DEVICE) for _ in range(2))
    query.requires_grad_()
    lightly = NTXentLoss(temperature=0.1, memory_bank_size=(queue, DIM)).to(DEVICE)
    flags = ("--method.queue-size", str(queue), "--method.projector.out", str(DIM), "--loss.temperature", "0.1")
    moco: Any = Tiny.of("--method", "moco", *flags).method().to(DEVICE)
    ascl: Any = Tiny.of("--method", "ascl", *flags, "--target.neighbors", "1").method().to(DEVICE)
    candidates = ascl.queue.keys

    def score_full_tables() -> Tensor:
        q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
        with torch.no_grad():
            near = (k @ candidates.T / 0.05).softmax(dim=1)
            sure = 1 + (near * (near + 1e-12).log()).sum(dim=1) / torch.tensor(float(queue)).log()
            labels = torch.cat([torch.ones_like(near[:, :1]), (sure[:, None] * near).clamp(max=1)], dim=1)
            labels = labels / labels.sum(dim=1, keepdim=True)
        logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ candidates.T], dim=1) / 0.1
        return -(labels * logits.log_softmax(dim=1)).sum(dim=1).mean()

    def with_gradient(loss: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(), query)

    torch.testing.assert_close(score_full_tables(), ascl.contrast(query, key).loss, rtol=1e-4, atol=1e-4)
    return Comparison(
        f"loss and its gradient, batch {batch}, queue {queue:,}",
        "",
        1,
        {
            "lightly, NTXentLoss with a memory bank": with_gradient(lambda: lightly(query, key)),
            "sslzoo, MoCo": with_gradient(lambda: moco.contrast(query, key).loss),
            "ASCL, full tables": with_gradient(score_full_tables),
            "sslzoo, ASCL": with_gradient(lambda: ascl.contrast(query, key).loss),
        },
        memory=True,
        notes=[
            f"one table of batch x queue is {4 * batch * queue / 2**20:,.0f} MiB; lightly's call also updates its queue"
        ],
    )


def main() -> None:
    """Print a table for each queue size."""
    asked = parse_arguments(__doc__, batch=256, queues=(4096, 65536))
    console = Console()
    for queue in asked.queues:
        show(console, create_comparison(asked.batch, queue), REPEATS)
    console.print(describe_conditions(REPEATS))


if __name__ == "__main__":
    main()
