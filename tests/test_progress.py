"""Progress of counted work and of stages, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

import sslzoo.progress
from sslzoo.progress import Steps, stage


def test_a_stage_is_named_before_it_works() -> None:
    out = io.StringIO()
    with stage(Console(file=out), "scoring trained"):
        assert "scoring trained" in out.getvalue()


def show(*, terminal: bool) -> str:
    """What is printed while 100 pictures are counted."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, force_interactive=terminal, width=100)
    with Steps(console, "features of train", 100) as steps:
        for _ in range(10):
            steps.advance(10, "loss 0.5")
    return out.getvalue()


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = show(terminal=True)
    for part in ("features of train", "100/100", "images/s", "loss 0.5"):
        assert part in shown


def test_lines_elsewhere_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(terminal=False) == ""
    monkeypatch.setattr(sslzoo.progress, "SECONDS", 0)
    lines = show(terminal=False).splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("features of train: 50 of 100  loss 0.5")
    assert "ETA" in lines[4]
