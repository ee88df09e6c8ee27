"""Runs that are killed at random times and resumed are bit-identical to uninterrupted runs on as many processes.

SSLZOO_KILLED_RUNS sets the number of runs with one process and with two, 1 by default; each is killed twice.
"""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from test_command import ENVIRONMENT, MOCO, ROOT, TINY, load_last_state, read_metrics, run

pytestmark = pytest.mark.long

RUNS = int(os.environ.get("SSLZOO_KILLED_RUNS", "1"))
FLAGS = [
    "--method", "ascl", "--epochs", "3", *TINY, *MOCO, "--accumulate", "2", "--log-every", "3", "--save-every", "2",
    "--knn-every", "2", "--evaluation.linear.epochs", "1",
]  # fmt: skip
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def run_and_kill(folder: Path, flags: list[str], launcher: tuple[str, ...], step: int, delay: float = 0) -> None:
    """Start or resume a run, and kill all its processes `delay` seconds after the first checkpoint from `step` on."""
    words = [sys.executable, *launcher, "run.py", *flags, "--run-folder", str(folder), "--resume", "auto"]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not any(int(path.name[5:]) >= step for path in (folder / "checkpoints").glob("step-*")):
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)
    time.sleep(delay)
    launched = psutil.Process(process.pid)
    for each in (launched, *launched.children(recursive=True)):  # killing a launcher does not end its processes
        each.kill()
    process.communicate(timeout=60)
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("launcher", [(), TWO], ids=["one process", "two processes"])
def test_killed_run_resumes_bit_identically(launcher: tuple[str, ...], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run(*FLAGS, "--run-folder", whole, launcher=launcher)
    generator = random.Random(len(launcher))
    for number in range(RUNS):
        cut = tmp_path / f"cut-{number}"
        for half in (0, 12):
            run_and_kill(cut, FLAGS, launcher, step=half + generator.choice([2, 4, 6]), delay=0.3 * generator.random())
        run(*FLAGS, "--run-folder", cut, "--resume", "auto", launcher=launcher)
        assert read_metrics(cut) == read_metrics(whole)
        states = [load_last_state(folder) for folder in (whole, cut)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_run_resumes_with_another_number_of_processes(tmp_path: Path) -> None:
    # batch norm in the projector would normalize each process's half; that of the backbone uses the same groups
    flags = [*FLAGS, "--method.projector.norm", "none", "--epochs", "6", "--precision", "fp32"]
    run(*flags, "--run-folder", tmp_path / "whole")
    run_and_kill(tmp_path / "cut", flags, (), step=6)
    run_and_kill(tmp_path / "cut", flags, TWO, step=14)
    output = run(*flags, "--run-folder", tmp_path / "cut", "--resume", "auto").stdout
    step = re.search(r"resumed at step (\d+)", output)
    assert step
    assert 14 <= int(step[1]) < 48
    whole, cut = (
        [line["loss"] for line in read_metrics(tmp_path / name) if "loss" in line] for name in ("whole", "cut")
    )
    assert len(whole) == len(cut) == 16
    assert cut == pytest.approx(whole, rel=1e-4)
