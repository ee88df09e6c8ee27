"""The time that training still takes."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WINDOW = 200
"""Steps, at most, that the mean time of a step is taken over."""


class RemainingTime:
    """Estimates the time left from the mean time of recent steps, without pauses.

    The mean is over the later half of the steps so far, at most `WINDOW` of them, so that compilation and the first
    steps drop out. It is a mean and not a median because a GPU's steps return early until the host waits for results.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps = 0
        self._ends: deque[float] = deque(maxlen=WINDOW + 1)
        """Ends of the steps in the window, and of the step before it, in seconds without pauses."""
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
        """Time that belongs to no step, such as that of a checkpoint."""
        began = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - began

    @contextmanager
    def evaluate(self) -> Iterator[None]:
        """A pause for an evaluation, which is expected to take as long the next time."""
        began = self._clock()
        with self.pause():
            yield
        self._evaluation = self._clock() - began

    def seconds(self, steps: int, evaluations: int = 0) -> float | None:
        """Seconds that so many steps and evaluations take; None before the second step.

        The time of an evaluation is 0 until one has been measured.
        """
        if len(self._ends) < 2:
            return None
        step = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return steps * step + evaluations * self._evaluation
