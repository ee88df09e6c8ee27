"""Progress of counted work and of stages, on a terminal and in plain lines."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from sslzoo.runtime.progress import FIRST_LINE, NEXT_LINE, Steps, can_animate, show_stage


def test_stage_is_printed_before_its_work_starts() -> None:
    out = io.StringIO()
    with show_stage(Console(file=out), "scoring trained"):
        assert "scoring trained" in out.getvalue()


def test_stage_prints_a_line_for_each_part() -> None:
    out = io.StringIO()
    with show_stage(Console(file=out), "trained: scoring") as update:
        update("trained: knn")
    assert out.getvalue().splitlines() == ["trained: scoring", "trained: knn"]


def capture_output(*, terminal: bool) -> str:
    """Return the output while 100 images are counted."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, force_interactive=terminal, width=100)
    with Steps(console, "features of train", 100) as steps:
        for _ in range(10):
            steps.advance(10, "loss 0.5")
    return out.getvalue()


def test_terminal_shows_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    output = capture_output(terminal=True)
    for part in ("features of train", "100/100", "images/s", "loss 0.5"):
        assert part in output


def test_steps_add_a_line_to_an_outer_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=100)
    with Progress(console=console) as bar:
        with Steps(console, "features for kNN", 100, bar=bar) as steps:
            steps.advance(40)
            (task,) = bar.tasks
            assert task.completed == 40
            assert task.description.startswith("features for kNN  ")
        assert not bar.tasks
        assert not bar.finished or bar.live.is_started


def test_plain_lines_are_printed_at_fixed_intervals() -> None:
    assert capture_output(terminal=False) == ""
    seconds = [0.0]
    out = io.StringIO()
    with Steps(Console(file=out, width=100), "features of train", 100, clock=lambda: seconds[0]) as steps:
        for _ in range(100):
            seconds[0] += 1
            steps.advance(1, "loss 0.5")
    lines = out.getvalue().splitlines()
    assert [int(line.split()[3]) for line in lines] == [*range(FIRST_LINE, 100, NEXT_LINE)]
    assert lines[1] == "features of train: 35 of 100  loss 0.5  1 images/s  ETA 65 s"


@pytest.mark.parametrize("widgets", [False, True])
def test_notebook_shows_a_bar_with_ipywidgets_and_lines_without(widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.runtime.progress.find_spec", lambda _: object() if widgets else None)
    assert can_animate(Console(force_jupyter=True)) is widgets
    assert not can_animate(Console(file=io.StringIO()))
    assert can_animate(Console(file=io.StringIO(), force_terminal=True))
