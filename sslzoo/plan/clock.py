"""Where the time of a step goes."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


def wait(device: torch.device) -> None:
    """Wait until the GPU has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def replace_method(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """A function of a module or an object is another for a while."""
    before, own = getattr(owner, name), name in vars(owner)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


class Clock:
    """Seconds by part. A part within another one is not counted in that as well.

    It waits for the device at both ends of a part, so parts add up, and all together take longer than without a clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._open: list[float] = []
        """Seconds already counted within each part that is open."""
        self._watched = ExitStack()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens meanwhile is this part's."""
        wait(self._device)
        self._open.append(0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            wait(self._device)
            took = time.perf_counter() - began
            self.seconds[name] += took - self._open.pop()
            if self._open:
                self._open[-1] += took

    def watch(self, owner: Any, function: str, name: str) -> None:
        """Every call of a function of the owner is this part's, until `stop`."""
        call = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return call(*args, **kwargs)

        self._watched.enter_context(replace_method(owner, function, timed))

    def each(self, items: Iterator[Item], name: str) -> Iterator[Item]:
        """The items; getting them is this part's."""
        while True:
            with self.part(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def stop(self) -> None:
        """What is watched is as it was."""
        self._watched.close()
