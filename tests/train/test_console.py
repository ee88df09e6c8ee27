"""The progress display, on a terminal and elsewhere."""

import io
from collections.abc import Iterable

import pytest
from rich.console import Console

from sslzoo.runtime.progress import FIRST_LINE, NEXT_LINE
from sslzoo.train.console import TrainingDisplay

VALUES = {"loss": 5.4321, "lr": 0.03, "images_per_second": 1234.5, "confidence": 0.25}
STEPS = 400


def show(
    *, terminal: bool, seconds: float = 1.0, start: int = 0, knn_epochs: Iterable[int] = (), knn_seconds: float = 0
) -> str:
    """What is printed in a training of 400 steps in 4 epochs, by a clock that each step advances; kNN comes after 100.

    Args:
        seconds: of a step.
    """
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, force_terminal=terminal, force_interactive=terminal, width=80)
    display = TrainingDisplay(
        console,
        epochs=4,
        steps_per_epoch=STEPS // 4,
        start=start,
        knn_epochs=[*knn_epochs],
        clock=lambda: now[0],
    )
    with display:
        for step in range(start + 1, STEPS + 1):
            now[0] += seconds
            if display.advance(step) or step == STEPS:
                display.show(step, VALUES)
            if step == 100:
                with display.remaining.evaluate():
                    now[0] += knn_seconds
                display.knn(1, 0.876)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_it_tells_where_how_and_how_long(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = show(terminal=terminal)
    for part in ("epoch 4/4", "step 400/400", "loss 5.4321", "lr 0.03", "1,234 images/s", "ETA 0:00:00", "kNN 87.6 %"):
        assert part in shown
    assert "confidence 0.25" in shown


def test_plain_lines_come_by_time_and_have_no_control_characters() -> None:
    shown = show(terminal=False)
    lines = [line for line in shown.splitlines() if "step" in line]
    assert [int(line.split()[3].partition("/")[0]) for line in lines] == [*range(FIRST_LINE, STEPS, NEXT_LINE), STEPS]
    assert "\x1b" not in shown


@pytest.mark.parametrize(("seconds", "lines"), [(0.001, 1), (100.0, STEPS)])
def test_a_short_run_has_its_last_line_and_a_slow_one_a_line_for_each_step(seconds: float, lines: int) -> None:
    assert show(terminal=False, seconds=seconds).count("step ") == lines


def test_the_time_left_has_the_evaluations_to_come() -> None:
    lines = show(terminal=False, knn_epochs=[1, 2, 4], knn_seconds=60).splitlines()
    assert "step 95/400  ETA 0:05:05  " in lines[3]  # no evaluation has been measured yet
    assert "kNN" in lines[4]
    assert "step 101/400  ETA 0:06:59  " in lines[5]  # 299 steps, and two of 60 seconds


def test_a_resumed_run_begins_where_it_stopped() -> None:
    first = show(terminal=False, start=100).splitlines()[0]
    assert "step 105/400  ETA 0:04:55  " in first


def test_a_terminal_shows_each_step_and_other_work_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=80)
    with TrainingDisplay(console, epochs=1, steps_per_epoch=10) as display:
        display.advance(1)
        assert display._bar is not None
        assert "step 1/10  ETA unknown" in display._bar.tasks[0].description
        with display.steps("features for kNN", 50) as steps:
            steps.advance(20)
            assert [task.completed for task in display._bar.tasks] == [1, 20]
        assert len(display._bar.tasks) == 1
