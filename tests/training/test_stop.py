"""Stop signals: their effect, and when it occurs."""

import os
import signal
import threading

import pytest
import torch

from sslzoo.training.stop import MAX_POLL_INTERVAL, SIGNALS, Interrupted, StopRequest, choose_poll_interval


def create_request(minutes: float = 10) -> StopRequest:
    return StopRequest(minutes, torch.device("cpu"))


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_returned_by_the_next_poll(number: signal.Signals) -> None:
    with create_request() as stop:
        assert stop.poll(1) == (False, 0)
        os.kill(os.getpid(), number)
        assert stop.poll(2) == (True, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_interrupts_work_after_a_checkpoint(number: signal.Signals) -> None:
    def work(stop: StopRequest) -> None:
        with stop.allow_interrupt("saved"):
            os.kill(os.getpid(), number)
            raise AssertionError("not interrupted")

    with create_request() as stop, pytest.raises(Interrupted, match="saved") as stopped:
        work(stop)
    assert stopped.value.code == 128 + number


def test_earlier_signal_interrupts_later_work() -> None:
    with create_request() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), stop.allow_interrupt("saved"):
            raise AssertionError("not interrupted")


def test_handlers_are_restored_and_the_second_signal_has_the_default_handler() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with create_request():
        os.kill(os.getpid(), signal.SIGTERM)
        assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_DFL] * len(SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_failed_checkpoint_is_due_sooner() -> None:
    with create_request(minutes=10) as stop:
        stop.save_within(1000)
        assert stop.poll(1) == (False, 0)
        stop.save_within(0)
        assert stop.poll(2) == (True, 0)
        assert stop.poll(3) == (False, 0)


def test_checkpoint_is_due_after_save_minutes() -> None:
    with create_request(minutes=0) as stop:
        assert stop.poll(1) == (True, 0)


@pytest.mark.parametrize(
    ("steps", "seconds", "expected"),
    [(1, 30, 1), (10, 4, 2), (10, 0.05, MAX_POLL_INTERVAL), (10, 0, MAX_POLL_INTERVAL), (7, 1, 7)],
)
def test_processes_poll_about_every_second(steps: int, seconds: float, expected: int) -> None:
    assert choose_poll_interval(steps, seconds) == expected


def test_second_signal_goes_to_the_previous_handlers_in_a_process_of_someone_else(
    request: pytest.FixtureRequest,
) -> None:
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores SIGINT
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, previous))
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest(10, torch.device("cpu"), kill=False) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.poll(1) == (True, signal.SIGTERM)
        assert [signal.getsignal(number) for number in SIGNALS] == before
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_checkpoints_are_timed_in_a_thread_without_signals() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    polls = []

    def poll() -> None:
        with create_request(minutes=0) as stop:
            polls.append(stop.poll(1))

    thread = threading.Thread(target=poll)
    thread.start()
    thread.join()
    assert polls == [(True, 0)]
    assert [signal.getsignal(number) for number in SIGNALS] == before
