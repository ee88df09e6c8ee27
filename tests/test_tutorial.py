"""The tutorial of docs/plugins.md works command by command and edit by edit."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sslzoo.cli import main
from sslzoo.comparison.command import plan
from sslzoo.comparison.request import parse_request
from sslzoo.experiment.compose import compose

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Your first loss in ten minutes\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(sh|diff)\n(.*?)^```", SECTION, flags=re.MULTILINE | re.DOTALL)
QUICK = shlex.split(
    "--epochs 1 --schedule.warmup-epochs 0 --dataset.limit 256 --backbone.kwargs '{channels: [8, 8, 8, 8]}' "
    "--evaluation.draws 2 --evaluation.linear.epochs 5 --knn-every 0 --threads 1"
)
"""Flags that make a training run short."""


def apply_diff(file: Path, diff: str) -> None:
    """Apply a diff whose context occurs exactly once."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] != "+")
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, diff
    file.write_text(text.replace(old, "".join(line[1:] for line in lines if line[0] != "-")), encoding="utf-8")


def run_python(*words: str) -> str:
    """Run Python in a separate process and return its output."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tutorial_works_to_its_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    forget_plugins: Callable[[], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = []
    for kind, block in BLOCKS:
        if kind == "diff":
            apply_diff(Path("margin.py"), block)
            done.append("edit")
            continue
        for command in block.splitlines():
            program, *words = shlex.split(command)[1:]
            forget_plugins()  # each command is a separate process in the tutorial
            if program == "-m":
                assert "passed" in run_python("-m", *words, "-p", "no:cacheprovider")
                done.append(words[0])
                continue
            assert program == "run.py"
            done.append(words[0])
            if words[0] in ("new", "describe"):
                assert main(words) == 0
            elif words[0] == "compare":
                cells, _ = plan(parse_request(words[1:]))
                assert [cell.experiment.loss.margin for cell in cells[:3]] == [0, 0.2, 0.4]
            elif "--loss.margin" in words:
                assert compose(words).loss.margin == 0.4
            elif words[0] != "check":
                assert "Test accuracy" in run_python("-m", "sslzoo", *words, *QUICK)
    assert done == [
        "new", "pytest", "--plugin", "edit", "pytest", "edit", "edit", "describe", "--plugin", "check", "compare",
    ]  # fmt: skip
    assert "--loss.margin" in capsys.readouterr().out
    margin = Path("margin.py").read_text(encoding="utf-8")
    assert len(margin.splitlines()) < 40
    run_python("-m", "ruff", "check", "--isolated", "--no-cache", "margin.py")
