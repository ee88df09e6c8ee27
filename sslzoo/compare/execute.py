"""Execute runs one after another, each in a separate process, which isolates its memory and crashes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Literal

from rich.console import Console
from rich.markup import escape

import sslzoo
from sslzoo.compare.agreement import find_differences, format_setting, settings_of
from sslzoo.compare.cells import Cell
from sslzoo.compare.folder import ComparisonFolder
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError
from sslzoo.train.folder import RunFolder
from sslzoo.train.stop import SIGNALS, Interrupted

State = Literal["finished", "begun", "new"]

POLL_SECONDS = 0.2
MISTAKE = 2
"""Exit status of a run that was asked for something that cannot be."""


def state_of(cell: Cell, path: Path) -> State:
    """How far a cell's run in that folder is.

    Raises:
        UserError: the folder holds a run with other settings.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        return "new"
    if folder.config.read_text(encoding="utf-8") != cell.experiment.as_yaml():
        run = compose(["--config", str(folder.config)])
        there = settings_of(run)
        asked = settings_of(cell.experiment.resolve_auto(run.precision, run.compile_augmentations))
        for name in find_differences([there, asked]):
            raise UserError(
                f"{path}: holds a run with {name} = {format_setting(there.get(name))}, "
                f"asked is {format_setting(asked.get(name))}; "
                "--folder takes another folder for another comparison"
            )
    return "finished" if folder.summary.is_file() else "begun"


def run_cells(
    cells: Sequence[Cell], folder: ComparisonFolder, launch: Sequence[str], console: Console, again: str
) -> list[str]:
    """Run what has not finished, all configs being checked before anything is started.

    Args:
        launch: words before `-m sslzoo ...`; none starts this Python.
        again: command that resumes after an interruption.

    Returns:
        Runs that failed, in words, with their log.

    Raises:
        UserError: a run with other settings is in the folder; or a run says that it was asked for what cannot be.
        Interrupted: a signal came, and the run that was under way has saved.
    """
    states = [state_of(cell, folder.run(cell)) for cell in cells]
    left = [(cell, state) for cell, state in zip(cells, states, strict=True) if state != "finished"]
    console.print(
        f"{len(cells)} runs, {len(cells) - len(left)} of them finished before; {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
    failed: list[str] = []
    began = time.monotonic()
    with catch_signals() as received:
        for number, (cell, state) in enumerate(left):
            eta = _eta(time.monotonic() - began, number, len(left))
            title = f"run {len(cells) - len(left) + number + 1}/{len(cells)}: {cell.label}, seed {cell.seed}{eta}"
            console.print(title, highlight=False, soft_wrap=True, markup=False)
            words = [*(launch or [sys.executable]), "-m", "sslzoo", *_arguments(cell, folder, state)]
            log = folder.log(cell)
            code = _run(words, log, title, console, received)
            if received:
                raise Interrupted(
                    f"stopped while {cell.label}, seed {cell.seed} ran; to resume: {again}", 128 + received[0]
                )
            if code == MISTAKE and not launch:
                raise UserError(f"{cell.label}, seed {cell.seed}: {last_line(log).removeprefix('error: ')} ({log})")
            if code or not RunFolder(folder.run(cell)).summary.is_file():
                failed.append(f"{cell.label}, seed {cell.seed} (exit status {code}): {log}")
                console.print(f"failed: {failed[-1]}", style="red", highlight=False, soft_wrap=True, markup=False)
            elif line := last_line(log, "epoch "):
                console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    return failed


def _arguments(cell: Cell, folder: ComparisonFolder, state: State) -> list[str]:
    """Arguments of a run: start from its config, which is written here, or resume."""
    if state == "begun":
        return ["--resume", str(folder.run(cell))]
    config = folder.config(cell)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(cell.experiment.as_yaml(), encoding="utf-8")
    return ["--config", str(config), "--run-folder", str(folder.run(cell))]


def _run(words: list[str], log: Path, title: str, console: Console, received: list[int]) -> int:
    """The exit status of a process; signals received meanwhile are forwarded to it and its children.

    Raises:
        UserError: it cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as output:
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                process_group=0,  # so that Ctrl-C on a terminal reaches it once, from here
            )
        except OSError as error:
            raise UserError(f"--launch {words[0]}: cannot be started: {error.strerror}") from error
    handed_on = 0
    with console.status(escape(title)) as status:
        while child.poll() is None or (received and _send(child.pid, 0)):
            for number in received[handed_on:]:
                _send(child.pid, signal.SIGTERM if number == signal.SIGHUP else number)
                handed_on += 1
            if console.is_terminal:
                status.update(escape(f"{title}  {last_line(log, 'epoch ')}"))
            time.sleep(POLL_SECONDS)
    return child.returncode


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """The list fills with the signals that come: Ctrl-C, SIGTERM, and that of a closed terminal unless ignored."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    watched = [*SIGNALS]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        watched.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in watched}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def last_line(log: Path, start: str = "") -> str:
    """The last line of a log that starts like that, or nothing."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip() and line.startswith(start)), "")


def _send(group: int, number: int) -> bool:
    """Send a signal to a group of processes; whether there is one. Signal 0 only asks."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _environment() -> Mapping[str, str]:
    """With this very package importable, also in a checkout that is not installed."""
    paths = [str(Path(sslzoo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def _eta(seconds: float, done: int, total: int) -> str:
    """Time left, from the runs of this session."""
    if not done:
        return ""
    return f"  ETA {timedelta(seconds=round(seconds / done * (total - done)))}"
