"""Estimate of the remaining training time."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WINDOW = 200
"""Maximum number of recent steps that are averaged."""


class RemainingTime:
    """Estimates the remaining time from the mean time of recent steps, excluding pauses.

    The mean covers the later half of the steps so far, at most `WINDOW` of them, so that it excludes compilation and
    other slow first steps. It is a mean and not a median because steps on a GPU return before the device has finished
    them, until the host waits for a result.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps = 0
        self._ends: deque[float] = deque(maxlen=WINDOW + 1)
        """Seconds, excluding pauses, at the end of each step in the window and of the step before it."""
        self._paused = 0.0
        self._evaluation = 0.0
        """Seconds of the last evaluation."""

    def count_step(self) -> None:
        """Count an optimizer step that has just ended."""
        self._steps += 1
        self._ends.append(self._clock() - self._paused)
        if len(self._ends) > max(2, self._steps // 2 + 1):
            self._ends.popleft()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Exclude work that is not part of a step, such as saving a checkpoint."""
        start = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - start

    @contextmanager
    def measure_evaluation(self) -> Iterator[None]:
        """Exclude an evaluation from the step times and measure it, as the estimate for the next one."""
        start = self._clock()
        with self.pause():
            yield
        self._evaluation = self._clock() - start

    def estimate_seconds(self, steps: int, evaluations: int = 0) -> float | None:
        """Estimate the seconds of this many steps and evaluations; None before the second step.

        An evaluation counts as 0 seconds until one has been measured.
        """
        if len(self._ends) < 2:
            return None
        step = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return steps * step + evaluations * self._evaluation
