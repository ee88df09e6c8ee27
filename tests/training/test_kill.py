"""Runs that are killed at random times and resumed are bit-identical to uninterrupted runs on as many processes.

Environment variables set what is killed: SSLZOO_KILLED_RUNS, the number of runs of each method with one process and
with two, each of which is killed twice (1); SSLZOO_KILLED_METHODS, separated by spaces (ascl); SSLZOO_KILLED_PRECISION
(auto).
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
METHODS = os.environ.get("SSLZOO_KILLED_METHODS", "ascl").split()
COMMON = [
    "--epochs", "3", *TINY, "--accumulate", "2", "--log-every", "3", "--save-every", "2", "--knn-every", "2",
    "--evaluation.linear.epochs", "1", "--precision", os.environ.get("SSLZOO_KILLED_PRECISION", "auto"),
]  # fmt: skip
OWN = {"ascl": MOCO, "w-mse": ["--accumulate", "1", "--method.sub-batch", "32"]}
"""Flags of a method besides the common ones."""
FLAGS = ["--method", "ascl", *COMMON, *MOCO]
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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("launcher", [(), TWO], ids=["one process", "two processes"])
def test_killed_run_resumes_bit_identically(launcher: tuple[str, ...], method: str, tmp_path: Path) -> None:
    whole, flags = tmp_path / "whole", ["--method", method, *COMMON, *OWN.get(method, [])]
    run(*flags, "--run-folder", whole, launcher=launcher)
    generator = random.Random(len(launcher))
    for number in range(RUNS):
        cut = tmp_path / f"cut-{number}"
        for half in (0, 12):
            run_and_kill(cut, flags, launcher, step=half + generator.choice([2, 4, 6]), delay=0.3 * generator.random())
        run(*flags, "--run-folder", cut, "--resume", "auto", launcher=launcher)
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
