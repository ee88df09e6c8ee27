"""Progress of long work other than training: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 10
"""Least time between two plain lines."""


def fact(console: Console, label: str, text: str) -> None:
    """A line of what a command says before it starts."""
    console.print(f"{label:>9}  {text}", highlight=False, markup=False, soft_wrap=True)


def warn(console: Console, text: str) -> None:
    """A line that the user should see, in yellow."""
    console.print(f"warning: {text}", style="yellow", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def stage(console: Console, what: str) -> Iterator[None]:
    """Say what takes its time: beside a moving sign on a terminal, as a line elsewhere."""
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(what, highlight=False)
        yield


class Steps:
    """Progress of work that is counted; use as a context.

    Args:
        what: is being done.
        total: number of pictures.
    """

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console, self._what, self._total = console, what, total
        self._done, self._began, self._said = 0, time.monotonic(), time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> "Steps":
        if self._console.is_terminal and not self._console.quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task(self._what, total=self._total, note="")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int, note: str = "") -> None:
        """Count what was done.

        Args:
            note: what else to show, such as the loss.
        """
        self._done += count
        now = time.monotonic()
        speed = f"{self._done / max(now - self._began, 1e-9):,.0f} images/s"
        shown = f"{note}  {speed}" if note else speed
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=shown)
        elif now - self._said > SECONDS:
            self._said = now
            left = (now - self._began) / self._done * (self._total - self._done)
            self._console.print(
                f"{self._what}: {self._done:,} of {self._total:,}  {shown}  ETA {left:,.0f} s",
                highlight=False,
                soft_wrap=True,
            )
