"""Each fault gives a one-line message and the documented exit status, and has no side effects."""

import re
from collections.abc import Callable
from pathlib import Path

import datasets
import faults
import pytest

from sslzoo.cli import main

Call = Callable[[list[str], Path], faults.Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run commands in this process instead of a new one."""

    def call_here(words: list[str], folder: Path) -> faults.Result:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SSLZOO_CACHE", str(folder / "cache"))
        for name, below in {"": "", "DOWNLOADED_": "downloads", "EXTRACTED_": "downloads/extracted"}.items():
            path = folder / "datasets" / below
            monkeypatch.setattr(datasets.config, f"{name}DATASETS_PATH" if name else "HF_DATASETS_CACHE", path)
        capsys.readouterr()
        code = main(words)
        return faults.Result(code, *capsys.readouterr())

    monkeypatch.setattr(faults, "call", call_here)
    return call_here


@pytest.mark.long
@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: f"{fault.kind}: {fault.name}")
def test_fault_gives_one_line_message_and_status(fault: faults.Fault, tmp_path: Path, call: Call) -> None:
    words = fault.prepare(tmp_path)
    before = set(tmp_path.rglob("*"))
    done = call(words, tmp_path)
    assert done.code == fault.code, done.stderr
    assert re.search(fault.message, done.stderr if fault.code else done.stdout), done.stderr or done.stdout
    assert not (tmp_path / "ran").exists()
    if fault.code:
        assert len(done.stderr.splitlines()) == 1
        new = {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - before}
        assert new <= {"cache", "datasets", *(["run"] if fault.kind == "number" else [])}
    else:
        assert done.stderr == ""


@pytest.mark.long
@pytest.mark.parametrize("fault", faults.RUNNING, ids=lambda fault: fault.name)
def test_fault_during_a_run_gives_message_and_status(fault: faults.RunningFault, tmp_path: Path) -> None:
    done = faults.call_with_fault(fault, tmp_path)
    assert done.code == fault.code, done.stderr
    assert re.search(fault.message, done.stderr, re.MULTILINE), done.stderr
    if not fault.launcher:
        assert len(done.stderr.splitlines()) <= 1


def test_documentation_lists_every_fault() -> None:
    every = [*faults.FAULTS, *faults.RUNNING]
    table = (faults.ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = {fault.name: f"| {fault.kind} | {fault.name} | {faults.shell_status(fault.code)} |" for fault in every}
    assert [name for name, row in rows.items() if row not in table] == []
