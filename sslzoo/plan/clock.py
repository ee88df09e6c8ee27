"""Measure the time of each part of a step."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work; does nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def replace_method(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a function of a module or an object within the context."""
    original, own = getattr(owner, name), name in vars(owner)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


class Clock:
    """Seconds by part; the time of a nested part is not counted in the outer part.

    The device is synchronized at both ends of a part. Parts therefore add up, but a step takes longer than without a
    clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._open: list[float] = []
        """Seconds already counted by nested parts, for each open part."""
        self._replaced = ExitStack()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the context to a part."""
        synchronize(self._device)
        self._open.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            synchronize(self._device)
            elapsed = time.perf_counter() - start
            self.seconds[name] += elapsed - self._open.pop()
            if self._open:
                self._open[-1] += elapsed

    def time_calls(self, owner: Any, function: str, name: str) -> None:
        """Add the time of every call of the owner's function to a part, until `stop`."""
        call = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return call(*args, **kwargs)

        self._replaced.enter_context(replace_method(owner, function, timed))

    def time_items(self, items: Iterator[Item], name: str) -> Iterator[Item]:
        """Yield the items and add the time to get them to a part."""
        while True:
            with self.part(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def stop(self) -> None:
        """Restore the replaced functions."""
        self._replaced.close()
