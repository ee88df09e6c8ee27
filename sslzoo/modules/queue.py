"""The queue of keys (MoCo)."""

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.runtime.distributed import gather
from sslzoo.runtime.errors import UserError

_CHUNK = 65536


class Queue(nn.Module):
    """First-in first-out queue of `size` unit vectors (MoCo, section 3.1), part of every checkpoint.

    It is initialized with random unit vectors. Push after the backward pass, so that the keys of a step are never among
    its own negatives.

    Raises:
        UserError: the memory does not suffice.
    """

    keys: Tensor
    """(size, dim) float32, L2-normalized rows."""
    cursor: Tensor
    """() int64: the oldest row, which the next key replaces."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        _require_memory(size, dim)
        keys = torch.randn(size, dim)
        for chunk in torch.split(keys, _CHUNK):
            F.normalize(chunk, dim=1, out=chunk)
        self.register_buffer("keys", keys)
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))
        self.pushed = 0
        """Number of keys pushed since this object was created; not part of checkpoints."""

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replace the oldest rows by the keys of all processes.

        Args:
            keys: (B, dim) L2-normalized; B is arbitrary; of more than `size` keys the last ones are kept.
        """
        keys = gather(keys.float())
        size = len(self.keys)
        rows = (self.cursor + torch.arange(len(keys), device=keys.device)) % size
        self.keys[rows[-size:]] = keys[-size:]
        self.cursor.copy_((self.cursor + len(keys)) % size)
        self.pushed += len(keys)

    @torch.no_grad()
    def nearest(self, embeddings: Tensor, count: int) -> Tensor:
        """Return the `count` most similar rows (or all): (B, dim) to (B, count, dim), nearest first."""
        rows = (embeddings @ self.keys.T).topk(min(count, len(self.keys)), dim=1).indices
        return self.keys[rows]


class EmbeddingQueue(Queue):
    """Queue of embeddings of any length, so that a mixture of them can be normalized afterwards.

    Neighbors are still found by cosine similarity.
    """

    @torch.no_grad()
    def nearest(self, embeddings: Tensor, count: int) -> Tensor:
        """Return the `count` rows with the highest cosine similarity: (B, dim) to (B, count, dim), nearest first."""
        similarities = F.normalize(embeddings, dim=1) @ F.normalize(self.keys, dim=1).T
        return self.keys[similarities.topk(min(count, len(self.keys)), dim=1).indices]


def _require_memory(size: int, dim: int) -> None:
    needed, available = 4 * size * dim, psutil.virtual_memory().available
    if needed > available:
        raise UserError(
            f"a queue of {size:,} keys needs {needed / 2**30:,.1f} GiB of memory, {available / 2**30:,.1f} GiB are "
            "available; use a smaller --method.queue-size"
        )
