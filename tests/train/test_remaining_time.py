"""The time left, by a clock that the tests set."""

import pytest

from sslzoo.train.remaining_time import WINDOW, RemainingTime


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def take(remaining: RemainingTime, clock: Clock, *seconds: float) -> None:
    """Count steps that take so many seconds each."""
    for each in seconds:
        clock.seconds += each
        remaining.count_step()


def test_nothing_is_estimated_from_one_step() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    assert remaining.seconds(10) is None
    take(remaining, clock, 60)
    assert remaining.seconds(10) is None
    take(remaining, clock, 2)
    assert remaining.seconds(10) == 20


def test_slow_first_steps_do_not_count() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    take(remaining, clock, 90, 20, 20, *[0.5] * 47)
    assert remaining.seconds(1000) == 500


def test_pauses_and_the_evaluation_between_steps_do_not_count() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    take(remaining, clock, *[1.0] * 30)
    assert remaining.seconds(100, evaluations=3) == 100  # none has been measured yet
    with remaining.evaluate():
        clock.seconds += 40
    with remaining.pause():
        clock.seconds += 7
    take(remaining, clock, *[1.0] * 10)
    assert remaining.seconds(100) == 100
    assert remaining.seconds(100, evaluations=3) == 220


def test_a_pause_that_ends_in_an_error_does_not_count() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    take(remaining, clock, 1, 1)

    def save() -> None:
        with remaining.pause():
            clock.seconds += 100
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        save()
    take(remaining, clock, 1)
    assert remaining.seconds(10) == 10


def test_recent_steps_count() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    take(remaining, clock, *[1.0] * 1000, *[3.0] * WINDOW)
    assert remaining.seconds(10) == 30


def test_steps_that_return_before_the_device_is_done_are_averaged() -> None:
    clock = Clock()
    remaining = RemainingTime(clock)
    take(remaining, clock, *([0.0] * 9 + [10.0]) * 10)
    assert remaining.seconds(100) == pytest.approx(100)
