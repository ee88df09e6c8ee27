"""What the command line returns and says, whatever its commands do."""

import subprocess
import sys
from pathlib import Path

import pytest
from timm.optim import list_optimizers

from sslzoo import cli
from sslzoo.modules.optim import USUAL
from sslzoo.runtime.errors import UserError


def command(error: BaseException) -> None:
    raise error


def test_a_mistake_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", lambda words: command(UserError("of two\n  lines")))
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "error: of two lines\n"


def test_ctrl_c_before_there_is_anything_to_save(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", lambda words: command(KeyboardInterrupt()))
    assert cli.main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", lambda words: command(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


def test_the_package_is_a_command_without_a_checkout(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sslzoo", "describe", "adaptive-soft"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--target.neighbors" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    "words", [["list"], ["describe", "ascl"], ["--help"], ["evaluate", "--help"], ["--epoch", "3"], ["--print-config"]]
)
def test_what_trains_nothing_imports_nothing_slow(words: list[str]) -> None:
    slow = ["timm", "torchvision", "torch._dynamo", "datasets", "accelerate", "sklearn", "scipy", "matplotlib"]
    code = f"""
import sys
from sslzoo.cli import main
from sslzoo.optim import USUAL
try:
    main({words})
except SystemExit:
    pass
print("imported:", *[name for name in {slow} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "imported:", done.stdout


def test_optimizers_that_need_no_look_into_timm_are_timms() -> None:
    assert set(USUAL) <= set(list_optimizers())
