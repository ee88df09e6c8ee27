"""Leaving in good order: the first signal asks the loop to save and stop, a second one leaves at once."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

import torch
import torch.distributed as dist

from sslzoo.runtime.distributed import world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""SIGUSR1 is what Slurm sends ahead of the end, where `sbatch --signal=USR1@60` asks for it."""

MOST_STEPS = 10
"""After which processes ask each other at the latest."""


class Interrupted(BaseException):
    """The run was asked to stop and has saved; `code` is the exit status, 128 + the signal's number.

    No `Exception`, as KeyboardInterrupt is none: what guards against faulty files must not take it for a fault.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class StopRequest:
    """Listens for signals while it is entered, and keeps the time to the next checkpoint.

    With several processes the decision is taken together, about every second, so that all stop at the same step.
    """

    def __init__(self, save_minutes: float, device: torch.device) -> None:
        self._signal = 0
        self._message: str | None = None
        self._previous: dict[int, object] = {}
        self._seconds = save_minutes * 60
        self._saved = time.monotonic()
        self._device = device
        self._asked, self._asked_at, self._next = 0, time.monotonic(), 0

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def at_once(self, message: str) -> Iterator[None]:
        """A stretch of work, after a checkpoint, that the first signal ends as well.

        Raises:
            Interrupted: with this message, when there is a signal or has been one.
        """
        self._message = message
        try:
            self._leave()
            yield
        finally:
            self._message = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        for other in SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        self._leave()

    def _leave(self) -> None:
        if self._signal and self._message is not None:
            raise Interrupted(self._message, code=128 + self._signal)

    def ask_again(self, seconds: float) -> None:
        """The next checkpoint is due after this time, when that is sooner than it would be."""
        self._saved = min(self._saved, time.monotonic() - self._seconds + seconds)

    def ask(self, step: int) -> tuple[bool, int]:
        """(whether to save a checkpoint now, the signal to stop for or 0), the same on every process."""
        due = time.monotonic() - self._saved >= self._seconds
        received = self._signal
        if world_size() > 1:
            if step < self._next:
                return False, 0
            now = time.monotonic()
            milliseconds = int(1000 * (now - self._asked_at))
            answer = torch.tensor([int(due), received, milliseconds], device=self._device)
            dist.all_reduce(answer, op=dist.ReduceOp.MAX)
            due, received, milliseconds = bool(answer[0]), int(answer[1]), int(answer[2])
            self._next = step + steps_in_a_second(step - self._asked, milliseconds / 1000)
            self._asked, self._asked_at = step, now
        if due:
            self._saved = time.monotonic()
        return due or received > 0, received


def steps_in_a_second(steps: int, seconds: float) -> int:
    """How many there were, from 1 to `MOST_STEPS`."""
    return max(1, min(MOST_STEPS, int(steps / max(seconds, 1e-3))))
