"""Execute runs one after another, each in a separate process, which isolates its memory and crashes."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
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
from sslzoo.comparison.agreement import comparable_settings, find_differences, format_setting
from sslzoo.comparison.cells import Cell
from sslzoo.comparison.folder import ComparisonFolder
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError
from sslzoo.training.folder import RunFolder
from sslzoo.training.stop import SIGNALS, Interrupted

State = Literal["finished", "started", "new"]

POLL_SECONDS = 0.2
PR_SET_PDEATHSIG = 1
"""Of Linux's `prctl`: the signal that a process receives when its parent dies."""
INVALID_INPUT = 2
"""Exit status of a run with an invalid setting."""


def get_state(cell: Cell, path: Path) -> State:
    """Return the state of a cell's run in a folder.

    Raises:
        UserError: the folder contains a run with other settings.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        return "new"
    if folder.config.read_text(encoding="utf-8") != cell.experiment.as_yaml():
        run = compose(["--config", str(folder.config)])
        existing = comparable_settings(run)
        requested = comparable_settings(cell.experiment.restore_auto(run))
        for name in find_differences([existing, requested]):
            raise UserError(
                f"{path}: contains a run with {name} = {format_setting(existing.get(name))}, "
                f"but {format_setting(requested.get(name))} is requested; "
                "choose another folder with --folder"
            )
    return "finished" if folder.summary.is_file() else "started"


def run_cells(
    cells: Sequence[Cell], folder: ComparisonFolder, launch: Sequence[str], console: Console, resume_command: str
) -> list[str]:
    """Execute all runs that have not finished; existing run folders are checked first.

    Args:
        launch: words before `-m sslzoo ...`; the current Python if empty.
        resume_command: command that resumes after an interruption.

    Returns:
        Descriptions of the runs that failed, with their logs.

    Raises:
        UserError: the folder contains a run with other settings, or a run reports an invalid setting.
        Interrupted: a signal arrived, and the current run has saved a checkpoint.
    """
    states = [get_state(cell, folder.run_path(cell)) for cell in cells]
    unfinished = [(cell, state) for cell, state in zip(cells, states, strict=True) if state != "finished"]
    console.print(
        f"{len(cells)} runs, {len(cells) - len(unfinished)} of them already finished; {folder.path}",
        highlight=False,
        soft_wrap=True,
    )
    failed: list[str] = []
    start = time.monotonic()
    with catch_signals() as received:
        for number, (cell, state) in enumerate(unfinished):
            eta = _format_eta(time.monotonic() - start, number, len(unfinished))
            title = f"run {len(cells) - len(unfinished) + number + 1}/{len(cells)}: {cell.label}, seed {cell.seed}{eta}"
            console.print(title, highlight=False, soft_wrap=True, markup=False)
            words = [*(launch or [sys.executable]), "-m", "sslzoo", *_run_arguments(cell, folder, state)]
            log = folder.log_path(cell)
            code = _run_process(words, log, title, console, received)
            if received:
                raise Interrupted(
                    f"stopped during {cell.label}, seed {cell.seed}; to resume: {resume_command}", 128 + received[0]
                )
            if code == INVALID_INPUT and not launch:
                raise UserError(
                    f"{cell.label}, seed {cell.seed}: {read_last_line(log).removeprefix('error: ')} ({log})"
                )
            if code or not RunFolder(folder.run_path(cell)).summary.is_file():
                failed.append(f"{cell.label}, seed {cell.seed} (exit status {code}): {log}")
                console.print(f"failed: {failed[-1]}", style="red", highlight=False, soft_wrap=True, markup=False)
            elif line := read_last_line(log, "epoch "):
                console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    return failed


def _run_arguments(cell: Cell, folder: ComparisonFolder, state: State) -> list[str]:
    """Return the arguments that start or resume a run; write its config if it starts."""
    if state == "started":
        return ["--resume", str(folder.run_path(cell))]
    config = folder.config_path(cell)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(cell.experiment.as_yaml(), encoding="utf-8")
    return ["--config", str(config), "--run-folder", str(folder.run_path(cell))]


def _run_process(words: list[str], log: Path, title: str, console: Console, received: list[int]) -> int:
    """Run a process, forward received signals to its process group, and return its exit status.

    Raises:
        UserError: the process cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as output:
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_create_environment(),
                process_group=0,  # Ctrl-C on a terminal reaches it only through the loop below
                preexec_fn=_terminate_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise UserError(f"--launch {words[0]}: cannot be started: {error.strerror}") from error
    forwarded = 0
    with console.status(escape(title)) as status:
        while child.poll() is None or (received and _send_signal(child.pid, 0)):
            for number in received[forwarded:]:
                _send_signal(child.pid, signal.SIGTERM if number == signal.SIGHUP else number)
                forwarded += 1
            if console.is_terminal:
                status.update(escape(f"{title}  {read_last_line(log, 'epoch ')}"))
            time.sleep(POLL_SECONDS)
    return child.returncode


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Collect signals in the yielded list instead of handling them; includes SIGHUP unless it is ignored.

    In a thread other than the main one, which receives no signals, the list stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def collect(number: int, frame: FrameType | None) -> None:
        received.append(number)

    numbers = [*SIGNALS]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    original = {number: signal.signal(number, collect) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in original.items():
            signal.signal(number, handler)


def read_last_line(log: Path, start: str = "") -> str:
    """Read the last non-empty line of a log that begins with `start`; empty if there is none."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip() and line.startswith(start)), "")


def _terminate_with_parent() -> None:
    """Ask the kernel to send SIGTERM when the parent dies, so that the run saves a checkpoint and ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _send_signal(group: int, number: int) -> bool:
    """Send a signal to a process group and return whether the group exists; signal 0 only checks."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _create_environment() -> Mapping[str, str]:
    """Environment in which this package is importable, even if it is not installed."""
    paths = [str(Path(sslzoo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def _format_eta(seconds: float, done: int, total: int) -> str:
    """Format the remaining time, estimated from the runs of this session."""
    if not done:
        return ""
    return f"  ETA {timedelta(seconds=round(seconds / done * (total - done)))}"
