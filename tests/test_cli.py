"""Exit status, messages and imports of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from timm.optim import list_optimizers

from sslzoo import cli
from sslzoo.modules.optim import USUAL
from sslzoo.runtime.errors import UserError


def raise_error(error: BaseException) -> None:
    raise error


def test_user_error_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", lambda words: raise_error(UserError("of two\n  lines")))
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "error: of two lines\n"


def test_ctrl_c_is_one_line_and_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", lambda words: raise_error(KeyboardInterrupt()))
    assert cli.main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("command", "remedy"), [("list", "--accumulate"), ("search", "fewer images")])
def test_memory_that_does_not_suffice_is_one_line_and_status_1(
    command: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, command, lambda words: raise_error(MemoryError("Unable to allocate 1.5 TiB")))
    assert cli.main([command]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: out of memory, could not allocate 1.5 TiB; ")
    assert remedy in shown


def test_unexpected_exception_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", lambda words: raise_error(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


def test_package_runs_as_a_module(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sslzoo", "describe", "adaptive-soft"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--target.neighbors" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["describe", "ascl"],
        ["--help"],
        ["evaluate", "--help"],
        ["compare", "--help"],
        ["embed", "--help"],
        ["search", "--help"],
        ["plan", "--help"],
        ["check", "--help"],
        ["new", "--help"],
        ["--epoch", "3"],
        ["--print-config"],
    ],
)
def test_commands_without_training_import_no_slow_package(words: list[str]) -> None:
    slow = ["timm", "torchvision", "torch._dynamo", "datasets", "accelerate", "sklearn", "scipy", "matplotlib"]
    code = f"""
import sys
from sslzoo.cli import main
from sslzoo.modules.optim import USUAL
try:
    main({words})
except SystemExit:
    pass
print("imported:", *[name for name in {slow} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "imported:", done.stdout


def test_common_optimizers_exist_in_timm() -> None:
    assert set(USUAL) <= set(list_optimizers())


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", "\x1b[31m\x07.yaml"]) == 2
    assert "\\x1b[31m\\x07.yaml" in capsys.readouterr().err
