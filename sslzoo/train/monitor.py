"""Numbers gathered while training: means over an interval, and the health of the embedding."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from sslzoo.evaluate.representation import effective_rank, embedding_std
from sslzoo.method.base import MethodOutput
from sslzoo.runtime.distributed import world_size


class IntervalMeans:
    """Means of a method's scalars over the steps between two lines of metrics; nothing is read from the device
    until then."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._norms: Tensor | None = None
        self._batches = 0
        self._images = 0
        self._seconds = 0.0
        self.resume_clock()

    def pause_clock(self) -> None:
        """What follows is not training and does not count against images a second."""
        self._seconds += time.monotonic() - self._since

    def resume_clock(self) -> None:
        """Resume the clock."""
        self._since = time.monotonic()

    def add(self, output: MethodOutput, images: int) -> None:
        """Count a batch of this many images over all processes."""
        for name, value in {"loss": output.loss, **output.logs}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value, dtype=torch.float32)) + value.detach()
        self._batches += 1
        self._images += images

    def add_gradient_norm(self, norm: Tensor) -> None:
        """Count the gradient norm () of an optimizer step, which is the same on all processes.

        Norms that are not finite do not count: a gradient scaler (fp16) skips their steps.
        """
        finite = norm.isfinite()
        counted = torch.stack([norm.where(finite, 0.0), finite.to(norm.dtype)])
        self._norms = counted if self._norms is None else self._norms + counted

    def values(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over steps and processes; empty before the first step of the interval."""
        if not self._sums:
            return {}
        means = torch.stack(list(self._sums.values())) / self._batches
        values = dict(zip(self._sums, accelerator.reduce(means, reduction="mean").tolist(), strict=True))
        total, count = (0.0, 0.0) if self._norms is None else self._norms.tolist()
        return values | ({"grad_norm": total / count} if count else {})

    def own(self) -> dict[str, float]:
        """Means of this process's steps, and images/s, without a reset and without communication."""
        self.pause_clock()
        self.resume_clock()
        means = {name: float(value) / self._batches for name, value in self._sums.items()}
        return means | {"images_per_second": self._images / max(self._seconds, 1e-9)}

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means, images a second, and the seconds that the interval took; counting begins anew."""
        values = self.values(accelerator)
        self.pause_clock()
        seconds = max(self._seconds, 1e-9)
        values |= {"images_per_second": self._images / seconds, "seconds": seconds}
        self._clear()
        return values

    def state_dict(self) -> dict[str, Any]:
        """What was counted on this process since the last line."""
        self.pause_clock()
        self.resume_clock()
        sums = {name: value.cpu() for name, value in self._sums.items()}
        return {
            "sums": sums,
            "norms": None if self._norms is None else self._norms.cpu(),
            "batches": self._batches,
            "images": self._images,
            "seconds": self._seconds,
        }

    def load_state_dicts(self, states: Sequence[dict[str, Any]], process: int, device: torch.device) -> None:
        """Go on from what the processes had counted; another number of processes than before shares the mean of it.

        Args:
            states: of each process that there was.
        """
        own = states[process] if process < len(states) == world_size() else None
        for name in states[0]["sums"]:
            value = own["sums"][name] if own else torch.stack([state["sums"][name] for state in states]).mean(dim=0)
            self._sums[name] = value.to(device)
        norms = states[0].get("norms")
        self._norms = None if norms is None else norms.to(device)
        self._batches, self._images = states[0]["batches"], states[0]["images"]
        self._seconds = states[0]["seconds"]


def health(embeddings: Tensor) -> dict[str, float]:
    """Standard deviation and effective rank of a batch of embeddings (B, D)."""
    embeddings = embeddings.float()
    return {
        "embedding_std": float(embedding_std(embeddings)),
        "effective_rank": float(effective_rank(embeddings)),
    }
