"""Leaving in good order: the first signal asks the loop to save and stop, a second one leaves at once."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

import torch
import torch.distributed as dist

from sslzoo.distributed import world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""SIGUSR1 is what Slurm sends ahead of the end, where `sbatch --signal=USR1@60` asks for it."""

_ASK_EVERY = 10


class Interrupted(BaseException):
    """The run was asked to stop and has saved; `code` is the exit status, 128 + the signal's number.

    No `Exception`, as KeyboardInterrupt is none: what guards against faulty files must not take it for a fault.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class StopRequest:
    """Listens for signals while it is entered, and keeps the time to the next checkpoint.

    With several processes the decision is taken together, every few steps, so that all stop at the same one.
    """

    def __init__(self, save_minutes: float, device: torch.device) -> None:
        self._signal = 0
        self._message: str | None = None
        self._previous: dict[int, object] = {}
        self._seconds = save_minutes * 60
        self._saved = time.monotonic()
        self._device = device

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
            if step % _ASK_EVERY:
                return False, 0
            answer = torch.tensor([int(due), received], device=self._device)
            dist.all_reduce(answer, op=dist.ReduceOp.MAX)
            due, received = bool(answer[0]), int(answer[1])
        if due:
            self._saved = time.monotonic()
        return due or received > 0, received
