"""Leaving in good order: the first signal asks the loop to save and stop, a second one leaves at once."""

import signal
import time
from types import FrameType, TracebackType

import torch
import torch.distributed as dist

from sslzoo.distributed import world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ASK_EVERY = 10


class Interrupted(Exception):
    """The run was asked to stop and has saved; `code` is the exit status, 128 + the signal's number."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class StopRequest:
    """Listens for signals while it is entered, and keeps the time to the next checkpoint.

    With several processes the decision is taken together, every few steps, so that all stop at the same one.
    """

    def __init__(self, save_minutes: float, device: torch.device) -> None:
        self._signal = 0
        self._previous: dict[int, object] = {}
        self._seconds = save_minutes * 60
        self._saved = time.monotonic()
        self._device = device

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        for other in SIGNALS:
            signal.signal(other, signal.SIG_DFL)

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
