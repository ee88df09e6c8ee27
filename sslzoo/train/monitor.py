"""Numbers gathered while training: means over an interval, and the health of the embedding."""

import time

import torch
from accelerate import Accelerator
from torch import Tensor

from sslzoo.evaluate.representation import effective_rank, embedding_std
from sslzoo.method import MethodOutput


class IntervalMeans:
    """Means of a method's scalars over the steps between two lines of metrics; nothing is read from the device
    until then."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._batches = 0
        self._pictures = 0
        self._seconds = 0.0
        self.resume_clock()

    def pause_clock(self) -> None:
        """What follows is not training and does not count against images a second."""
        self._seconds += time.monotonic() - self._since

    def resume_clock(self) -> None:
        """Training goes on."""
        self._since = time.monotonic()

    def add(self, output: MethodOutput, pictures: int) -> None:
        """Count a batch of this many pictures over all processes."""
        for name, value in {"loss": output.loss, **output.logs}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value, dtype=torch.float32)) + value.detach()
        self._batches += 1
        self._pictures += pictures

    def values(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over steps and processes; empty before the first step of the interval."""
        if not self._sums:
            return {}
        means = torch.stack(list(self._sums.values())) / self._batches
        return dict(zip(self._sums, accelerator.reduce(means, reduction="mean").tolist(), strict=True))

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means, images a second, and the seconds that the interval took; counting begins anew."""
        values = self.values(accelerator)
        self.pause_clock()
        seconds = max(self._seconds, 1e-9)
        values |= {"images_per_second": self._pictures / seconds, "seconds": seconds}
        self._clear()
        return values


def health(embeddings: Tensor) -> dict[str, float]:
    """Standard deviation and effective rank of a batch of embeddings (B, D)."""
    embeddings = embeddings.float()
    return {
        "embedding_std": float(embedding_std(embeddings)),
        "effective_rank": float(effective_rank(embeddings)),
    }
