"""What a person sees of a run: a progress display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from sslzoo.runtime.progress import LineTimer, Steps
from sslzoo.train.remaining_time import RemainingTime


class TrainingDisplay:
    """Progress of training; use as a context."""

    def __init__(
        self,
        console: Console,
        *,
        epochs: int,
        steps_per_epoch: int,
        start: int = 0,
        knn_epochs: Collection[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            start: step that the run resumes at.
            knn_epochs: epochs after which kNN is scored.
        """
        self.console = console
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.total = epochs * steps_per_epoch
        self.remaining = RemainingTime(clock)
        self._knn_epochs, self._knn = knn_epochs, ""
        self._lines = LineTimer(clock)
        self._bar: _Bar | None = None
        if console.is_terminal:
            self._bar = _Bar(console)
            self._task = self._bar.add_task("starting", total=self.total, completed=start)

    def __enter__(self) -> "TrainingDisplay":
        self._lines.start()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def steps(self, what: str, total: int) -> Steps:
        """Progress of other counted work during training."""
        return Steps(self.console, what, total, bar=self._bar)

    def knn(self, epoch: int, accuracy: float) -> None:
        """Print a kNN score on its own line, and keep it below the bar."""
        self._knn = f"  kNN {100 * accuracy:.1f} % (epoch {epoch})"
        self.console.print(f"epoch {epoch}/{self.epochs}  kNN {100 * accuracy:.1f} %", highlight=False)

    def advance(self, step: int) -> bool:
        """Count an optimizer step, the last of `step`; nothing is read from the device.

        Returns:
            Whether enough time has passed for its metrics to be shown.
        """
        self.remaining.count_step()
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=self._where(step))
        return self._lines.is_due()

    def show(self, step: int, values: dict[str, float]) -> None:
        """Show metrics after `step` optimizer steps: loss, lr, images_per_second and the method's logs.

        Where output is not a terminal, a line is printed when one is due, and after the last step.
        """
        how = f"loss {values['loss']:.4f}  lr {values['lr']:.2g}  {values['images_per_second']:,.0f} images/s"
        more = "  ".join(f"{name} {value:.3g}" for name, value in values.items() if name not in _SHOWN)
        if self._bar is not None:
            self._bar.below = [Text(how + self._knn), Text(more)]
        elif not self._lines.is_due() and step < self.total:
            return
        else:
            self.console.print(f"{self._where(step)}  {how}  {more}", soft_wrap=True, highlight=False)
        self._lines.restart()

    def _where(self, step: int) -> str:
        epoch = min(self.epochs, step // self.steps_per_epoch + 1)
        return f"epoch {epoch}/{self.epochs}  step {step}/{self.total}  ETA {self._eta(step)}"

    def _eta(self, step: int) -> str:
        evaluations = sum(epoch * self.steps_per_epoch >= step for epoch in self._knn_epochs)
        seconds = self.remaining.seconds(self.total - step, evaluations)
        return "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))


_SHOWN = ("loss", "lr", "images_per_second", "seconds", "step", "epoch")


class _Bar(Progress):
    """A bar with lines below it, removed when training ends."""

    def __init__(self, console: Console) -> None:
        self.below: list[RenderableType] = []
        super().__init__(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from self.below
