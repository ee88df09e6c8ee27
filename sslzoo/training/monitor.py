"""Monitor training: means of metrics over an interval of steps."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from sslzoo.method.base import MethodOutput
from sslzoo.runtime.distributed import world_size


class IntervalMeans:
    """Means of a method's scalars over the steps since they were last logged.

    Sums stay on the device until they are read, so that adding a batch does not wait for it.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._norms: Tensor | None = None
        self._batches = 0
        self._images = 0
        self._seconds = 0.0
        self.resume_clock()

    def pause_clock(self) -> None:
        """Stop the clock during work that is not training, such as an evaluation."""
        self._seconds += time.monotonic() - self._since

    def resume_clock(self) -> None:
        """Resume the clock."""
        self._since = time.monotonic()

    def _update_clock(self) -> None:
        self.pause_clock()
        self.resume_clock()

    def add(self, output: MethodOutput, images: int) -> None:
        """Add the loss and logs of a batch.

        Args:
            images: size of the batch, over all processes.
        """
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

    def compute(self, accelerator: Accelerator) -> dict[str, float]:
        """Compute the means over steps and processes; empty before the first step of the interval."""
        if not self._sums:
            return {}
        means = torch.stack(list(self._sums.values())) / self._batches
        values = dict(zip(self._sums, accelerator.reduce(means, reduction="mean").tolist(), strict=True))
        total, count = (0.0, 0.0) if self._norms is None else self._norms.tolist()
        return values | ({"grad_norm": total / count} if count else {})

    def compute_local(self) -> dict[str, float]:
        """Compute the means over this process's steps, without communication or a reset."""
        return {name: float(value) / self._batches for name, value in self._sums.items()}

    def compute_and_reset(self, accelerator: Accelerator) -> dict[str, float]:
        """Compute the means over steps and processes, images per second and the interval's seconds; then reset."""
        values = self.compute(accelerator)
        self.pause_clock()
        seconds = max(self._seconds, 1e-9)
        values |= {"images_per_second": self._images / seconds, "seconds": seconds}
        self._reset()
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and counts of this process in the current interval."""
        self._update_clock()
        sums = {name: value.cpu() for name, value in self._sums.items()}
        return {
            "sums": sums,
            "norms": None if self._norms is None else self._norms.cpu(),
            "batches": self._batches,
            "images": self._images,
            "seconds": self._seconds,
        }

    def load_state_dicts(self, states: Sequence[dict[str, Any]], process: int, device: torch.device) -> None:
        """Restore the interval; if the number of processes has changed, each one loads the mean of all sums.

        Args:
            states: state of each process that saved one, in rank order.
            process: rank of this process.
        """
        own = states[process] if process < len(states) == world_size() else None
        for name in states[0]["sums"]:
            value = own["sums"][name] if own else torch.stack([state["sums"][name] for state in states]).mean(dim=0)
            self._sums[name] = value.to(device)
        norms = states[0].get("norms")
        self._norms = None if norms is None else norms.to(device)
        self._batches, self._images = states[0]["batches"], states[0]["images"]
        self._seconds = states[0]["seconds"]
