"""Runs are started, reused, resumed, stopped and reported as failed; a script imitates the run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from sslzoo.comparison.cells import Cell, create_cells
from sslzoo.comparison.execute import get_state, read_last_line, run_cells
from sslzoo.comparison.folder import ComparisonFolder
from sslzoo.comparison.request import parse_request
from sslzoo.runtime.errors import UserError
from sslzoo.training.stop import Interrupted

MakeRun = Callable[..., Path]
CellsOf = Callable[[str], list[Cell]]

FAKE = """
import json, signal, sys, time
from pathlib import Path
import yaml

def stop(number, frame):
    print("saved")
    sys.exit(128 + number)

def run(words):
    assert words[:2] == ["-m", "sslzoo"], words
    if words[2] == "--resume":
        folder = Path(words[3])
        (folder / "resumed").touch()
    else:
        assert words[2] == "--config" and words[4] == "--run-folder", words
        folder = Path(words[5])
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(Path(words[3]).read_text())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    print("epoch 2/2  kNN 50.0 %", flush=True)
    if config["seed"] == 7:
        sys.exit("a fault")
    if config["seed"] == 8:
        signal.signal(signal.SIGTERM, stop)
        (folder / "ready").touch()
        time.sleep(60)
    (folder / "summary.json").write_text(json.dumps({}))

run(sys.argv[1:])
"""


@pytest.fixture
def folder(tmp_path: Path) -> ComparisonFolder:
    return ComparisonFolder(tmp_path / "out")


@pytest.fixture
def cells_of(folder: ComparisonFolder, small: list[str]) -> CellsOf:
    return lambda words: [
        folder.with_run_folder(cell) for cell in create_cells(parse_request([*words.split(), *small]))
    ]


@pytest.fixture
def launch(tmp_path: Path) -> list[str]:
    (tmp_path / "fake.py").write_text(FAKE)
    return [sys.executable, str(tmp_path / "fake.py")]


def execute(cells: list[Cell], folder: ComparisonFolder, launch: list[str]) -> list[str]:
    return run_cells(cells, folder, launch, Console(quiet=True), "again")


def test_each_run_is_executed_once(folder: ComparisonFolder, cells_of: CellsOf, launch: list[str]) -> None:
    cells = cells_of("--methods moco,ascl --seeds 2")
    assert {get_state(cell, folder.run_path(cell)) for cell in cells} == {"new"}
    assert execute(cells, folder, launch) == []
    assert {get_state(cell, folder.run_path(cell)) for cell in cells} == {"finished"}
    assert read_last_line(folder.log_path(cells[0])) == "epoch 2/2  kNN 50.0 %"
    assert execute(cells, folder, ["/no/such/launcher"]) == []


def test_unfinished_run_is_resumed(folder: ComparisonFolder, cells_of: CellsOf, launch: list[str]) -> None:
    (cell,) = cells_of("--methods moco --seeds 1")
    execute([cell], folder, launch)
    (folder.run_path(cell) / "summary.json").unlink()
    assert get_state(cell, folder.run_path(cell)) == "started"
    execute([cell], folder, launch)
    assert (folder.run_path(cell) / "resumed").exists()


def test_run_with_other_settings_is_refused_before_any_run_starts(
    folder: ComparisonFolder, cells_of: CellsOf, make_run: MakeRun, launch: list[str]
) -> None:
    cells = cells_of("--methods ascl,moco --seeds 1")
    make_run("out/runs/moco-seed0", ["--method", "moco", "--batch-size", "64"])
    with pytest.raises(
        UserError, match=r"contains a run with batch_size = 64, but 128 is requested; choose another folder"
    ):
        execute(cells, folder, launch)
    assert not folder.run_path(cells[0]).exists()


def test_neutral_settings_may_differ(folder: ComparisonFolder, cells_of: CellsOf, make_run: MakeRun) -> None:
    (cell,) = cells_of("--methods moco --seeds 1 --threads 3")
    path = make_run("out/runs/moco-seed0", ["--method", "moco", "--save-minutes", "1"])
    assert get_state(cell, path) == "finished"


def test_auto_settings_match_what_the_run_resolved(
    folder: ComparisonFolder, cells_of: CellsOf, make_run: MakeRun
) -> None:
    (auto,) = cells_of("--methods moco --seeds 1")
    (other,) = cells_of("--methods moco --seeds 1 --precision fp16")
    path = make_run(
        "out/runs/moco-seed0", ["--method", "moco", "--precision", "bf16", "--compile-augmentations", "false"]
    )
    assert get_state(auto, path) == "finished"
    with pytest.raises(UserError, match="contains a run with precision = bf16, but fp16 is requested"):
        get_state(other, path)


def test_failed_run_is_reported_with_its_log_and_other_runs_continue(
    folder: ComparisonFolder, cells_of: CellsOf, launch: list[str]
) -> None:
    cells = cells_of("--methods moco --seeds 7,1")
    (failure,) = execute(cells, folder, launch)
    assert failure == f"moco, seed 7 (exit status 1): {folder.log_path(cells[0])}"
    assert "a fault" in folder.log_path(cells[0]).read_text()
    assert get_state(cells[1], folder.run_path(cells[1])) == "finished"


@pytest.mark.long
def test_invalid_setting_in_a_run_stops_the_comparison(folder: ComparisonFolder, cells_of: CellsOf) -> None:
    cells = cells_of("--methods moco --seeds 2 --batch-size 4096")
    with pytest.raises(UserError, match=r"moco, seed 0: --batch-size 4096: one batch needs 4096 images"):
        execute(cells, folder, [])


def test_missing_launcher_is_an_error(folder: ComparisonFolder, cells_of: CellsOf) -> None:
    with pytest.raises(UserError, match="--launch /no/such/launcher: cannot be started"):
        execute(cells_of("--methods moco --seeds 1"), folder, ["/no/such/launcher"])


def test_signal_is_forwarded_and_error_names_the_resume_command(
    folder: ComparisonFolder, cells_of: CellsOf, launch: list[str]
) -> None:
    cells = cells_of("--methods moco --seeds 8,1")

    def interrupt() -> None:
        until = time.monotonic() + 60
        while not (folder.run_path(cells[0]) / "ready").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted, match="to resume: again") as stopped:
        execute(cells, folder, launch)
    thread.join()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert read_last_line(folder.log_path(cells[0])) == "saved"
    assert not folder.run_path(cells[1]).exists()


KILLED = """
import subprocess, sys
from pathlib import Path
from rich.console import Console
from sslzoo.comparison.execute import _run_process

_run_process([sys.executable, sys.argv[1]], Path(sys.argv[2]), "run", Console(quiet=True), [])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's prctl")
def test_killed_comparison_ends_its_run(tmp_path: Path) -> None:
    program, log = tmp_path / "run.py", tmp_path / "log"
    program.write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved', flush=True)))\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", KILLED, str(program), str(log)])

    def wait_for(line: str) -> None:
        until = time.monotonic() + 60
        while not (log.exists() and read_last_line(log) == line):
            assert time.monotonic() < until
            time.sleep(0.05)

    wait_for("ready")
    parent.kill()
    parent.wait()
    wait_for("saved")


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="is not empty and contains no comparison"):
        ComparisonFolder(tmp_path).create({})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
