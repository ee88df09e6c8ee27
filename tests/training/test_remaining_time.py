"""The estimate of the remaining time, on a fake clock."""

import pytest

from sslzoo.training.remaining_time import WINDOW, RemainingTime


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def run_steps(remaining: RemainingTime, clock: Clock, *seconds: float) -> None:
    """Count steps with these durations in seconds."""
    for each in seconds:
        clock.seconds += each
        remaining.count_step()


def test_no_estimate_before_the_second_step() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    assert remaining.estimate_seconds(10) is None
    run_steps(remaining, clock, 60)
    assert remaining.estimate_seconds(10) is None
    run_steps(remaining, clock, 2)
    assert remaining.estimate_seconds(10) == 20


def test_slow_first_steps_are_excluded() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    run_steps(remaining, clock, 90, 20, 20, *[0.5] * 47)
    assert remaining.estimate_seconds(1000) == 500


def test_pauses_and_evaluations_are_excluded_from_step_times() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    run_steps(remaining, clock, *[1.0] * 30)
    assert remaining.estimate_seconds(100, evaluations=3) == 100  # none has been measured yet
    with remaining.measure_evaluation():
        clock.seconds += 40
    with remaining.pause():
        clock.seconds += 7
    run_steps(remaining, clock, *[1.0] * 10)
    assert remaining.estimate_seconds(100) == 100
    assert remaining.estimate_seconds(100, evaluations=3) == 220


def test_pause_that_ends_in_an_error_is_excluded() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    run_steps(remaining, clock, 1, 1)

    def save() -> None:
        with remaining.pause():
            clock.seconds += 100
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        save()
    run_steps(remaining, clock, 1)
    assert remaining.estimate_seconds(10) == 10


def test_only_recent_steps_are_averaged() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    run_steps(remaining, clock, *[1.0] * 1000, *[3.0] * WINDOW)
    assert remaining.estimate_seconds(10) == 30


def test_asynchronous_steps_are_averaged() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    run_steps(remaining, clock, *([0.0] * 9 + [10.0]) * 10)
    assert remaining.estimate_seconds(100) == pytest.approx(100)
