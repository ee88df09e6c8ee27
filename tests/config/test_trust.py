"""A config file loads a plug-in only if its reader has loaded the same file before, named it or trusts all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslzoo.cli import main
from sslzoo.config import trust
from sslzoo.config.registry import load_plugin
from sslzoo.runtime.errors import UserError
from sslzoo.training.unfinished import find_unfinished_run

TRACE = "from pathlib import Path\nPath({trace!r}).open('a').write('ran ')\n"


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """A plug-in that leaves a trace when it runs."""
    file = tmp_path / "run" / "helper.py"
    file.parent.mkdir()
    file.write_text(TRACE.format(trace=str(tmp_path / "trace")))
    return file


@pytest.fixture
def foreign_run(helper: Path) -> Path:
    """The folder of a run that names the plug-in."""
    from sslzoo.experiment.compose import compose

    (helper.parent / "config.yaml").write_text(compose([]).as_yaml().replace("plugin: []", "plugin: [helper.py]"))
    (helper.parent / "summary.json").write_text("{}")
    return helper.parent


def ran(folder: Path) -> int:
    """How often the plug-in ran."""
    trace = folder / "trace"
    return len(trace.read_text().split()) if trace.exists() else 0


COMMANDS = {
    "evaluate": ["evaluate", "{run}"],
    "resume": ["--resume", "{run}"],
    "resume in a folder": ["--resume", "auto", "--run-folder", "{run}"],
    "compare": ["compare", "--runs", "{run}", "{run}"],
    "config": ["--config", "{run}/config.yaml", "--print-config"],
    "plan": ["plan", "--config", "{run}/config.yaml"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_foreign_run_runs_no_code(
    words: list[str], foreign_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(run=foreign_run) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    helper = foreign_run / "helper.py"
    assert line == (
        f"error: {foreign_run}/config.yaml: plugin {helper}: is code that you have not loaded before, or that has "
        f"changed since; to run it, name it with --plugin {helper}, or permit all plug-ins with --trust-plugins"
    )
    assert ran(tmp_path) == 0


def test_neighboring_foreign_run_is_not_resumed(foreign_run: Path, tmp_path: Path) -> None:
    from sslzoo.experiment.compose import compose

    (foreign_run / "summary.json").unlink()
    foreign_run.rename(tmp_path / "ascl-adaptive-soft-digits-20260101-000000")
    assert find_unfinished_run(compose(["--output", str(tmp_path)])) is None
    assert ran(tmp_path) == 0


@pytest.mark.parametrize("flag", ["--trust-plugins", "--plugin"])
def test_flag_permits_the_plugin(flag: str, foreign_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trust.VARIABLE, "0")  # restored after the test
    words = ["--config", str(foreign_run / "config.yaml"), "--print-config"]
    assert main([*words, flag, *([str(foreign_run / "helper.py")] if flag == "--plugin" else [])]) == 0
    assert ran(tmp_path) == 1


def test_plugin_is_trusted_in_later_processes_until_it_changes(foreign_run: Path, tmp_path: Path) -> None:
    helper = foreign_run / "helper.py"

    def compose(*more: str) -> int:
        words = ["--config", str(foreign_run / "config.yaml"), "--print-config", *more]
        command = [sys.executable, "-m", "sslzoo", *words]
        return subprocess.run(command, env=os.environ, capture_output=True, check=False).returncode

    assert [compose(), compose("--plugin", str(helper)), compose()] == [2, 0, 0]
    assert ran(tmp_path) == 2
    helper.write_text(helper.read_text() + "# changed\n")
    assert compose() == 2
    assert ran(tmp_path) == 2


def test_same_content_elsewhere_is_not_trusted(helper: Path, tmp_path: Path) -> None:
    load_plugin(str(helper))
    other = tmp_path / "other" / "helper.py"
    other.parent.mkdir()
    other.write_text(helper.read_text())
    with pytest.raises(UserError, match=r"other/helper\.py: is code that you have not loaded before"):
        load_plugin("helper.py", setting="config.yaml: plugin", beside=other.parent)


@pytest.mark.parametrize("name", ["foreign_package", "foreign_package.part"])
def test_module_of_a_config_is_not_imported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "foreign_package"
    package.mkdir()
    (package / "__init__.py").write_text(TRACE.format(trace=str(tmp_path / "trace")))
    (package / "part.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"plugin {name}: is code that you have not loaded before"):
        load_plugin(name, setting="config.yaml: plugin", beside=tmp_path)
    assert ran(tmp_path) == 0
    assert load_plugin(name) == name
    assert load_plugin(name, setting="config.yaml: plugin", beside=tmp_path) == name
    assert ran(tmp_path) == 1


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}'])
def test_damaged_record_trusts_nothing(content: str, helper: Path) -> None:
    record = Path(os.environ["XDG_STATE_HOME"]) / "sslzoo" / "plugins.json"
    record.parent.mkdir()
    record.write_text(content)
    with pytest.raises(UserError, match="have not loaded before"):
        load_plugin("helper.py", setting="config.yaml: plugin", beside=helper.parent)
    load_plugin(str(helper))
    assert str(helper) in record.read_text()


def test_record_that_cannot_be_written_is_no_error(
    helper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    load_plugin(str(helper))
    load_plugin("helper.py", setting="config.yaml: plugin", beside=helper.parent)
