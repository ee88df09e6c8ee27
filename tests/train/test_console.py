"""The progress display, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from sslzoo.train.console import LINES, TrainingDisplay

VALUES = {"loss": 5.4321, "lr": 0.03, "images_per_second": 1234.5, "confidence": 0.25}


def show(*, terminal: bool, steps: int = 400, **size: int) -> str:
    """What is printed in training with a kNN score after ten steps."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, force_interactive=terminal, width=80)
    with TrainingDisplay(console, epochs=4, steps_per_epoch=steps // 4, **size) as display:
        for step in range(display._start + 1, steps + 1):
            display.step(step, VALUES)
            if step == 10:
                display.knn(1, 0.876)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_it_tells_where_how_and_how_long(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = show(terminal=terminal)
    for part in ("epoch 4/4", "step 400/400", "loss 5.4321", "lr 0.03", "1,234 images/s", "ETA 0:00:00", "kNN 87.6 %"):
        assert part in shown
    assert "confidence 0.25" in shown


def test_plain_lines_are_few_and_have_no_control_characters() -> None:
    lines = show(terminal=False).splitlines()
    assert LINES <= len(lines) <= LINES + 3
    assert "\x1b" not in "".join(lines)
    assert "step 1/400" in lines[0]


def test_a_resumed_run_begins_where_it_stopped() -> None:
    assert "step 101/400" in show(terminal=False, start=100).splitlines()[0]
