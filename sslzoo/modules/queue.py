"""The queue of keys that queries are contrasted with."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.runtime.distributed import gather


class Queue(nn.Module):
    """First-in first-out queue of `size` unit vectors (MoCo, section 3.1), part of every checkpoint.

    It begins as random unit vectors. Push after the loss was computed and back-propagated, so that the keys of
    a step are never among its own negatives.
    """

    keys: Tensor
    """(size, dim) float32, L2-normalized rows."""
    cursor: Tensor
    """() int64: the row that the next key replaces, which is the oldest."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replace the oldest rows by the keys of all processes.

        Args:
            keys: (B, dim) L2-normalized; any B, of more than `size` the last ones stay.
        """
        keys = gather(keys.float())
        size = len(self.keys)
        rows = (self.cursor + torch.arange(len(keys), device=keys.device)) % size
        self.keys[rows[-size:]] = keys[-size:]
        self.cursor.copy_((self.cursor + len(keys)) % size)

    @torch.no_grad()
    def nearest(self, embeddings: Tensor, count: int) -> Tensor:
        """The most similar rows: (B, dim) L2-normalized to (B, count, dim), the nearest first; all where fewer are."""
        rows = (embeddings @ self.keys.T).topk(min(count, len(self.keys)), dim=1).indices
        return self.keys[rows]
