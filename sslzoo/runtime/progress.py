"""Progress of long work other than training: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

FIRST_LINE, NEXT_LINE = 5, 30
"""Seconds after which work says how far it is, in plain lines: from its start, and from one line to the next."""


class LineTimer:
    """When the next line is due: `FIRST_LINE` seconds after the start, then every `NEXT_LINE`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Work begins."""
        self._next = self._clock() + FIRST_LINE

    def is_due(self) -> bool:
        """Whether enough time has passed."""
        return self._clock() >= self._next

    def restart(self) -> None:
        """A line was printed."""
        self._next = self._clock() + NEXT_LINE


def fact(console: Console, label: str, text: str) -> None:
    """A line of what a command says before it starts."""
    console.print(f"{label:>9}  {text}", highlight=False, markup=False, soft_wrap=True)


def note(console: Console, text: str) -> None:
    """A line about work that starts or waits."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def warn(console: Console, text: str) -> None:
    """A line that the user should see, in yellow."""
    console.print(f"warning: {text}", style="yellow", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def stage(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Say what takes its time: beside a moving sign on a terminal, as a line elsewhere.

    Yields:
        A function that replaces the text by that of the next part of the work.
    """
    if console.is_terminal:
        with console.status(escape(what)) as status:
            yield lambda part: status.update(escape(part))
    else:
        note(console, what)
        yield partial(note, console)


class Steps:
    """Progress of work that is counted; use as a context.

    Args:
        what: is being done.
        total: number of images.
        bar: that is on the terminal already, where there is one; it gets a line for this work.
    """

    def __init__(
        self,
        console: Console,
        what: str,
        total: int,
        *,
        bar: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._what, self._total, self._clock = console, what, total, clock
        self._outer, self._bar = bar, bar
        self._done = 0

    def __enter__(self) -> "Steps":
        self._began, self._lines = self._clock(), LineTimer(self._clock)
        if self._bar is not None:
            self._task = self._bar.add_task(self._what, total=self._total)
        elif self._console.is_terminal and not self._console.quiet:
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
        if self._outer is not None:
            self._outer.remove_task(self._task)
        elif self._bar is not None:
            self._bar.stop()

    def advance(self, count: int, note: str = "") -> None:
        """Count what was done.

        Args:
            note: what else to show, such as the loss.
        """
        self._done += count
        now = self._clock()
        speed = f"{self._done / max(now - self._began, 1e-9):,.0f} images/s"
        shown = f"{note}  {speed}" if note else speed
        if self._outer is not None:
            self._outer.update(self._task, completed=self._done, description=f"{self._what}  {shown}")
        elif self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=shown)
        elif self._lines.is_due():
            self._lines.restart()
            left = (now - self._began) / self._done * (self._total - self._done)
            self._console.print(
                f"{self._what}: {self._done:,} of {self._total:,}  {shown}  ETA {left:,.0f} s",
                highlight=False,
                soft_wrap=True,
            )


CountSteps = Callable[[str, int], Steps]
"""Makes the display of counted work: what is being done, and the number of images."""
