"""Signals: what the first one does, and when."""

import os
import signal

import pytest
import torch

from sslzoo.train.stop import MOST_STEPS, SIGNALS, Interrupted, StopRequest, steps_in_a_second


def request(minutes: float = 10) -> StopRequest:
    return StopRequest(minutes, torch.device("cpu"))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_answered_when_the_loop_asks(number: signal.Signals) -> None:
    with request() as stop:
        assert stop.ask(1) == (False, 0)
        os.kill(os.getpid(), number)
        assert stop.ask(2) == (True, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_at_once_what_comes_after_a_checkpoint(number: signal.Signals) -> None:
    def work(stop: StopRequest) -> None:
        with stop.at_once("saved"):
            os.kill(os.getpid(), number)
            raise AssertionError("it went on")

    with request() as stop, pytest.raises(Interrupted, match="saved") as stopped:
        work(stop)
    assert stopped.value.code == 128 + number


def test_a_signal_that_came_before_is_not_forgotten() -> None:
    with request() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), stop.at_once("saved"):
            raise AssertionError("it went on")


def test_handlers_are_put_back_and_the_second_signal_has_the_systems_own() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with request():
        os.kill(os.getpid(), signal.SIGTERM)
        assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_DFL] * len(SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_checkpoint_that_failed_is_due_sooner() -> None:
    with request(minutes=10) as stop:
        stop.ask_again(1000)
        assert stop.ask(1) == (False, 0)
        stop.ask_again(0)
        assert stop.ask(2) == (True, 0)
        assert stop.ask(3) == (False, 0)


def test_time_to_save() -> None:
    with request(minutes=0) as stop:
        assert stop.ask(1) == (True, 0)


@pytest.mark.parametrize(
    ("steps", "seconds", "expected"), [(1, 30, 1), (10, 4, 2), (10, 0.05, MOST_STEPS), (10, 0, MOST_STEPS), (7, 1, 7)]
)
def test_processes_ask_each_other_about_every_second(steps: int, seconds: float, expected: int) -> None:
    assert steps_in_a_second(steps, seconds) == expected
