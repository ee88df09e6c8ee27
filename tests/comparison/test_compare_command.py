"""`run.py compare` from end to end, on the digits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--threads", "1", "--dataset.limit", "256", "--batch-size", "32",
    "--schedule.warmup-epochs", "0", "--log-every", "1", "--knn-every", "1", "--evaluation.draws", "2",
    "--evaluation.linear.epochs", "5", "--method.queue-size", "128", "--dataset.test-limit", "100", "--epochs", "1",
]  # fmt: skip
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}


def compare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "run.py", "compare", *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)


def test_two_methods_with_two_seeds_run_once(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    asked = ["--methods", "moco,ascl:hard", "--seeds", "2", "--folder", folder, *TINY]
    first = compare(*asked)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "run 4/4: ascl:hard, seed 1  ETA" in first.stdout
    names = {path.name for path in folder.iterdir()}
    files = {"report.html", "report.md", "report.csv", "summary.csv", "comparison.yaml"}
    assert names == files | {"runs", "configs", "logs", "images"}
    runs = {"moco-seed0", "moco-seed1", "ascl-hard-seed0", "ascl-hard-seed1"}
    assert {path.name for path in (folder / "runs").iterdir()} == runs
    for run in runs:
        summary = json.loads((folder / "runs" / run / "summary.json").read_text())
        assert summary["seed"] == int(run[-1])
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}
    (folder / "report.html").unlink()

    again = compare(*asked)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "4 runs, 4 of them already finished" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")} == before
    assert "ascl:hard" in (folder / "report.html").read_text(encoding="utf-8")

    other = compare(*asked, "--optimizer.lr", "0.5")
    assert other.returncode == 2
    assert "contains a run with optimizer.lr = 0.003, but 0.5 is requested" in other.stderr
    assert len(other.stderr.strip().splitlines()) == 1
