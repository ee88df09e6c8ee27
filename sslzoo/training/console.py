"""Display of training: a progress bar on a terminal or in a notebook, plain lines elsewhere."""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from sslzoo.runtime.progress import LineTimer, Steps, can_animate, print_note, print_warning
from sslzoo.training.remaining_time import RemainingTime

FIRST_LINE_METRICS = ("loss", "lr")
HIDDEN_METRICS = (
    "seconds", "images_per_second", "step", "epoch", "feature_std", "feature_rank", "centered_rank", "max_rank",
    "uniformity", "alignment", "view_distance", "student_norm", "teacher_norm", "teacher_distance", "queue_age",
    "queue_std", "trivial_loss",
)  # fmt: skip
"""Metrics that are not shown: those of the health of a run that the verdict summarizes, and the position."""


class TrainingDisplay:
    """Progress of training; use as a context manager."""

    def __init__(
        self,
        console: Console,
        *,
        epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        start: int = 0,
        knn_epochs: Collection[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            start: step that the run resumes at.
            knn_epochs: epochs after which kNN is evaluated.
        """
        self.console = console
        self.epochs, self.steps_per_epoch, self.batch_size = epochs, steps_per_epoch, batch_size
        self.total_steps = epochs * steps_per_epoch
        self.remaining = RemainingTime(clock)
        self._knn_epochs, self._knn = knn_epochs, ""
        self._lines = LineTimer(clock)
        self._bar: _Bar | None = None
        if can_animate(console) and not console.quiet:
            self._bar = _Bar(console)
            self._task = self._bar.add_task("starting", total=self.total_steps, completed=start)

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

    def create_progress(self, what: str, total: int) -> Steps:
        """Create the progress display of other counted work during training, such as an evaluation."""
        return Steps(self.console, what, total, bar=self._bar)

    def advance(self, step: int) -> bool:
        """Count an optimizer step, without reading from the device.

        Args:
            step: number of optimizer steps so far.

        Returns:
            Whether metrics are due to be shown.
        """
        self.remaining.count_step()
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=self._format_position(step))
        return self._lines.is_due()

    def show_metrics(self, step: int, values: dict[str, float]) -> None:
        """Show metrics after `step` optimizer steps: loss, lr and the method's logs, and the speed of recent steps.

        Without a terminal, print a line when one is due, and after the last step.
        """
        first = f"loss {values['loss']:.4f}  lr {values['lr']:.2g}"
        if seconds := self.remaining.estimate_seconds(1):
            first += f"  {self.batch_size / seconds:,.0f} images/s"
        shown = (*FIRST_LINE_METRICS, *HIDDEN_METRICS)
        others = "  ".join(f"{name} {value:.3g}" for name, value in values.items() if name not in shown)
        if self._bar is not None:
            self._bar.below = [Text(first + self._knn), Text(others)]
        elif not self._lines.is_due() and step < self.total_steps:
            return
        else:
            self.console.print(f"{self._format_position(step)}  {first}  {others}", soft_wrap=True, highlight=False)
        self._lines.restart()

    def show_knn(self, epoch: int, accuracy: float) -> None:
        """Print a kNN accuracy on its own line, and keep it below the progress bar."""
        self._knn = f"  kNN {100 * accuracy:.1f} % (epoch {epoch})"
        self.console.print(f"epoch {epoch}/{self.epochs}  kNN {100 * accuracy:.1f} %", highlight=False)

    def show_early_stop(self, epoch: int, reason: str) -> None:
        """Print that training ends after this epoch, and why."""
        print_note(self.console, f"epoch {epoch}/{self.epochs}  {reason}")

    def warn(self, step: int, text: str) -> None:
        """Print a warning about a step."""
        print_warning(self.console, f"step {step}: {text}")

    def _format_position(self, step: int) -> str:
        epoch = min(self.epochs, step // self.steps_per_epoch + 1)
        return f"epoch {epoch}/{self.epochs}  step {step}/{self.total_steps}  ETA {self._format_eta(step)}"

    def _format_eta(self, step: int) -> str:
        evaluations = sum(epoch * self.steps_per_epoch >= step for epoch in self._knn_epochs)
        seconds = self.remaining.estimate_seconds(self.total_steps - step, evaluations)
        return "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))


class _Bar(Progress):
    """A progress bar with lines below it, removed when training ends."""

    def __init__(self, console: Console) -> None:
        self.below: list[RenderableType] = []
        super().__init__(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from self.below
