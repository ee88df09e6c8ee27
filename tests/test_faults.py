"""What users see of each fault: one clear line, a documented status, and nothing done that should not be."""

import re
from collections.abc import Callable
from pathlib import Path

import datasets
import faults
import pytest

from sslzoo.cli import main

Call = Callable[[list[str], Path], faults.Done]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process, which spares its start."""

    def here(words: list[str], folder: Path) -> faults.Done:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SSLZOO_CACHE", str(folder / "cache"))
        for name, below in {"": "", "DOWNLOADED_": "downloads", "EXTRACTED_": "downloads/extracted"}.items():
            path = folder / "datasets" / below
            monkeypatch.setattr(datasets.config, f"{name}DATASETS_PATH" if name else "HF_DATASETS_CACHE", path)
        capsys.readouterr()
        code = main(words)
        return faults.Done(code, *capsys.readouterr())

    monkeypatch.setattr(faults, "call", here)
    return here


@pytest.mark.long
@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: f"{fault.kind}: {fault.what}")
def test_a_fault_is_told_in_one_line(fault: faults.Fault, tmp_path: Path, call: Call) -> None:
    words = fault.make(tmp_path)
    before = set(tmp_path.rglob("*"))
    done = call(words, tmp_path)
    assert done.code == fault.code, done.stderr
    assert re.search(fault.says, done.stderr if fault.code else done.stdout), done.stderr or done.stdout
    assert not (tmp_path / "ran").exists()
    if fault.code:
        assert len(done.stderr.splitlines()) == 1
        new = {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - before}
        assert new <= {"cache", "datasets", *(["run"] if fault.kind == "number" else [])}
    else:
        assert done.stderr == ""


@pytest.mark.long
@pytest.mark.parametrize("fault", faults.RUNNING, ids=lambda fault: fault.what)
def test_a_fault_on_the_way(fault: faults.Running, tmp_path: Path) -> None:
    done = faults.call_and_meddle(fault, tmp_path)
    assert done.code == fault.code, done.stderr
    assert re.search(fault.says, done.stderr, re.MULTILINE), done.stderr
    if not fault.launcher:
        assert len(done.stderr.splitlines()) <= 1


def test_the_table_of_the_documentation_has_every_fault() -> None:
    every = [*faults.FAULTS, *faults.RUNNING]
    table = (faults.ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = {fault.what: f"| {fault.kind} | {fault.what} | {faults.status(fault.code)} |" for fault in every}
    assert [what for what, row in rows.items() if row not in table] == []
