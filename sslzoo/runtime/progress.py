"""Progress of long work other than training: a bar on a terminal or in a notebook, periodic lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sslzoo.runtime.errors import escape_controls

FIRST_LINE, NEXT_LINE = 5, 30
"""Seconds from the start to the first plain progress line, and from one line to the next."""


class LineTimer:
    """When the next line is due: `first` seconds after the start, then every `NEXT_LINE`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, first: float = FIRST_LINE) -> None:
        self._clock, self._first = clock, first
        self.start()

    def start(self) -> None:
        """Restart the timer when work begins."""
        self._next = self._clock() + self._first

    def is_due(self) -> bool:
        """Whether the next line is due."""
        return self._clock() >= self._next

    def restart(self) -> None:
        """Restart the timer after a line was printed."""
        self._next = self._clock() + NEXT_LINE


def can_animate(console: Console) -> bool:
    """Whether a console can update what it shows: a terminal, or a notebook with ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def print_field(console: Console, label: str, text: str) -> None:
    """Print one labeled line of a command's header."""
    console.print(escape_controls(f"{label:>9}  {text}"), highlight=False, markup=False, soft_wrap=True)


def print_note(console: Console, text: str) -> None:
    """Print a line about work that starts or waits."""
    console.print(escape_controls(text), highlight=False, markup=False, soft_wrap=True)


def print_warning(console: Console, text: str) -> None:
    """Print a warning in yellow."""
    console.print(escape_controls(f"warning: {text}"), style="yellow", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def show_stage(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Show what is running: with a spinner where possible, as a line elsewhere.

    Yields:
        A function that replaces the text when the next part of the work starts.
    """
    if can_animate(console):
        with console.status(escape(what)) as status:
            yield lambda part: status.update(escape(part))
    else:
        print_note(console, what)
        yield partial(print_note, console)


class Steps:
    """Progress of counted work; use as a context manager.

    Args:
        what: description of the work.
        total: number of images.
        bar: a progress bar that is already on the terminal; this work adds a line to it.
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
        self._console, self._what, self._total, self._clock = console, escape_controls(what), total, clock
        self._outer, self._bar = bar, bar
        self._done = 0

    def __enter__(self) -> "Steps":
        self._started, self._lines = self._clock(), LineTimer(self._clock)
        if self._bar is not None:
            self._task = self._bar.add_task(self._what, total=self._total)
        elif can_animate(self._console) and not self._console.quiet:
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
        """Add `count` finished images.

        Args:
            note: further text to show, such as the loss.
        """
        self._done += count
        now = self._clock()
        speed = f"{self._done / max(now - self._started, 1e-9):,.0f} images/s"
        text = f"{note}  {speed}" if note else speed
        if self._outer is not None:
            self._outer.update(self._task, completed=self._done, description=f"{self._what}  {text}")
        elif self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=text)
        elif self._lines.is_due():
            self._lines.restart()
            left = (now - self._started) / self._done * (self._total - self._done)
            self._console.print(
                f"{self._what}: {self._done:,} of {self._total:,}  {text}  ETA {left:,.0f} s",
                highlight=False,
                soft_wrap=True,
            )


CountSteps = Callable[[str, int], Steps]
"""Creates the progress display from a description of the work and the number of images."""
