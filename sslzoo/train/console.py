"""What a person sees of a run: a progress display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

LINES = 20
"""About how many plain lines a run prints where output is not a terminal."""


class TrainingDisplay:
    """Progress of training; use as a context."""

    def __init__(self, console: Console, *, epochs: int, steps_per_epoch: int, start: int = 0) -> None:
        self.console = console
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.total = epochs * steps_per_epoch
        self._start, self._began = start, 0.0
        self._knn = ""
        self._next_line = 0
        self._bar: _Bar | None = None
        if console.is_terminal:
            self._bar = _Bar(console)
            self._task = self._bar.add_task("starting", total=self.total, completed=start)

    def __enter__(self) -> "TrainingDisplay":
        self._began = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def knn(self, epoch: int, accuracy: float) -> None:
        """A kNN score has come in; it gets a line of its own and stays below the bar."""
        self._knn = f"  kNN {100 * accuracy:.1f} % (epoch {epoch})"
        self.console.print(f"epoch {epoch}/{self.epochs}  kNN {100 * accuracy:.1f} %", highlight=False)

    def step(self, step: int, values: dict[str, float]) -> None:
        """`step` optimiser steps are done; `values` holds loss, lr, images_per_second and the method's logs."""
        done, left = step - self._start, self.total - step
        eta = timedelta(seconds=round((time.monotonic() - self._began) / max(1, done) * left))
        where = f"epoch {min(self.epochs, step // self.steps_per_epoch + 1)}/{self.epochs}  step {step}/{self.total}"
        how = f"loss {values['loss']:.4f}  lr {values['lr']:.2g}  {values['images_per_second']:,.0f} images/s"
        more = "  ".join(f"{name} {value:.3g}" for name, value in values.items() if name not in _SHOWN)
        if self._bar is not None:
            self._bar.below = [Text(how + self._knn), Text(more)]
            self._bar.update(self._task, completed=step, description=f"{where}  ETA {eta}")
        elif step >= self._next_line or step == self.total:
            self.console.print(f"{where}  {how}  ETA {eta}  {more}", soft_wrap=True, highlight=False)
            self._next_line = step + self.total // LINES


_SHOWN = ("loss", "lr", "images_per_second", "seconds", "step", "epoch")


class _Bar(Progress):
    """A bar with lines below it, gone when training is over."""

    def __init__(self, console: Console) -> None:
        self.below: list[RenderableType] = []
        super().__init__(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from self.below
