"""Stop on signals: the first one lets the loop save and stop, a second one does not wait."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

import torch
import torch.distributed as dist

from sslzoo.runtime.distributed import world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Slurm sends SIGUSR1 before the time limit with `sbatch --signal=USR1@60`."""

MAX_POLL_INTERVAL = 10
"""Largest number of steps between two exchanges among processes."""


class Interrupted(KeyboardInterrupt):
    """The run has stopped on a signal and has been saved; `code` is the exit status, 128 + the signal's number.

    It is a KeyboardInterrupt, so that handlers of errors do not catch it.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class StopRequest:
    """Handles stop signals and times checkpoints; use as a context manager.

    Several processes exchange signals and time about every second, so that all of them save and stop at the same step.
    In a thread other than the main one, which receives no signals, only checkpoints are timed.

    Args:
        save_minutes: time between two checkpoints.
        kill: whether a second signal kills the process, as on the command line; otherwise the handlers that were
            installed before receive it.
    """

    def __init__(self, save_minutes: float, device: torch.device, *, kill: bool = True) -> None:
        self._signal = 0
        self._interrupt_message: str | None = None
        self._kill = kill
        self._previous_handlers: dict[int, object] = {}
        self._save_seconds = save_minutes * 60
        self._saved_at = time.monotonic()
        self._device = device
        self._polled_step, self._polled_at, self._next_poll = 0, time.monotonic(), 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous_handlers[number] = signal.signal(number, self._handle_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def allow_interrupt(self, message: str) -> Iterator[None]:
        """Let a signal interrupt the work in this context at once, instead of at the next `poll`.

        Raises:
            Interrupted: a signal arrives, or arrived earlier; its message is `message`.
        """
        self._interrupt_message = message
        try:
            self._raise_if_signaled()
            yield
        finally:
            self._interrupt_message = None

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        for other, handler in self._previous_handlers.items():
            signal.signal(other, signal.SIG_DFL if self._kill else handler)  # type: ignore[arg-type]
        self._raise_if_signaled()

    def _raise_if_signaled(self) -> None:
        if self._signal and self._interrupt_message is not None:
            raise Interrupted(self._interrupt_message, code=128 + self._signal)

    def save_within(self, seconds: float) -> None:
        """Make the next checkpoint due after this time, unless it is due earlier."""
        self._saved_at = min(self._saved_at, time.monotonic() - self._save_seconds + seconds)

    def poll(self, step: int) -> tuple[bool, int]:
        """Return whether to save a checkpoint now, and the signal to stop for or 0; equal on all processes."""
        due = time.monotonic() - self._saved_at >= self._save_seconds
        received = self._signal
        if world_size() > 1:
            if step < self._next_poll:
                return False, 0
            now = time.monotonic()
            milliseconds = int(1000 * (now - self._polled_at))
            votes = torch.tensor([int(due), received, milliseconds], device=self._device)
            dist.all_reduce(votes, op=dist.ReduceOp.MAX)
            due, received, milliseconds = bool(votes[0]), int(votes[1]), int(votes[2])
            self._next_poll = step + choose_poll_interval(step - self._polled_step, milliseconds / 1000)
            self._polled_step, self._polled_at = step, now
        if due:
            self._saved_at = time.monotonic()
        return due or received > 0, received


def choose_poll_interval(steps: int, seconds: float) -> int:
    """Choose the number of steps that take about one second, from 1 to `MAX_POLL_INTERVAL`.

    Args:
        steps: steps since the last poll.
        seconds: time that they took.
    """
    return max(1, min(MAX_POLL_INTERVAL, int(steps / max(seconds, 1e-3))))
