"""The training display, on a terminal and elsewhere."""

import io
from collections.abc import Iterable

import pytest
from rich.console import Console

from sslzoo.runtime.progress import FIRST_LINE, NEXT_LINE
from sslzoo.training.console import TrainingDisplay

VALUES = {"loss": 5.4321, "lr": 0.03, "images_per_second": 1.0, "confidence": 0.25}
STEPS = 400


def run_display(
    *, terminal: bool, seconds: float = 1.0, start: int = 0, knn_epochs: Iterable[int] = (), knn_seconds: float = 0
) -> str:
    """Return the output of 400 steps in 4 epochs on a fake clock, with kNN after step 100.

    Args:
        seconds: duration of a step.
        knn_seconds: duration of the kNN evaluation.
    """
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, force_terminal=terminal, force_interactive=terminal, width=80)
    display = TrainingDisplay(
        console,
        epochs=4,
        steps_per_epoch=STEPS // 4,
        batch_size=1234,
        start=start,
        knn_epochs=[*knn_epochs],
        clock=lambda: now[0],
    )
    with display:
        for step in range(start + 1, STEPS + 1):
            now[0] += seconds
            if display.advance(step) or step == STEPS:
                display.show_metrics(step, VALUES)
            if step == 100:
                with display.remaining.measure_evaluation():
                    now[0] += knn_seconds
                display.show_knn(1, 0.876)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_display_shows_position_metrics_and_remaining_time(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = run_display(terminal=terminal)
    for part in ("epoch 4/4", "step 400/400", "loss 5.4321", "lr 0.03", "1,234 images/s", "ETA 0:00:00", "kNN 87.6 %"):
        assert part in shown
    assert "confidence 0.25" in shown


def test_plain_lines_are_timed_and_have_no_control_characters() -> None:
    shown = run_display(terminal=False)
    lines = [line for line in shown.splitlines() if "step" in line]
    assert [int(line.split()[3].partition("/")[0]) for line in lines] == [*range(FIRST_LINE, STEPS, NEXT_LINE), STEPS]
    assert "\x1b" not in shown


@pytest.mark.parametrize(("seconds", "lines"), [(0.001, 1), (100.0, STEPS)])
def test_short_run_prints_its_last_line_and_slow_run_one_line_per_step(seconds: float, lines: int) -> None:
    assert run_display(terminal=False, seconds=seconds).count("step ") == lines


def test_remaining_time_includes_future_evaluations() -> None:
    lines = run_display(terminal=False, knn_epochs=[1, 2, 4], knn_seconds=60).splitlines()
    assert "step 95/400  ETA 0:05:05  " in lines[3]  # no evaluation has been measured yet
    assert "kNN" in lines[4]
    assert "step 101/400  ETA 0:06:59  " in lines[5]  # 299 steps, and two of 60 seconds


def test_speed_is_that_of_recent_steps() -> None:
    """A metric of an interval that has just begun would be the speed of a single step."""
    lines = [line for line in run_display(terminal=False, seconds=2).splitlines() if "step " in line]
    assert all("617 images/s" in line for line in lines)


def test_resumed_run_starts_at_its_step() -> None:
    first = run_display(terminal=False, start=100).splitlines()[0]
    assert "step 105/400  ETA 0:04:55  " in first


def test_terminal_shows_each_step_and_other_work_below_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=80)
    with TrainingDisplay(console, epochs=1, steps_per_epoch=10, batch_size=1) as display:
        display.advance(1)
        assert display._bar is not None
        assert "step 1/10  ETA unknown" in display._bar.tasks[0].description
        with display.create_progress("features for kNN", 50) as steps:
            steps.advance(20)
            assert [task.completed for task in display._bar.tasks] == [1, 20]
        assert len(display._bar.tasks) == 1
