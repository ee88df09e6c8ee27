"""`run.py new`: templates work unchanged, and an error leaves no file behind."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sslzoo.cli import main
from sslzoo.config.registry import load_plugin
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError
from sslzoo.scaffold.command import KINDS, Names, new

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a new part of each kind."""
    folder = tmp_path_factory.mktemp("parts")
    for kind in KINDS:
        assert new([kind, f"my_{kind}", "--folder", str(folder)]) == 0
    return folder


@pytest.mark.long
def test_generated_tests_pass_with_plain_pytest(written: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=written, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        assert (written / f"test_my_{kind}.py").read_text().count("def test_") >= 4


@pytest.mark.parametrize("length", [1, 24])
def test_generated_files_pass_ruff_with_its_default_rules(length: int, tmp_path: Path) -> None:
    for kind in KINDS:
        new([kind, "a" * length + f"_{kind}", "--folder", str(tmp_path)])
    for words in (["check"], ["format", "--diff"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", "--no-cache", "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_printed_commands_work(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert new([kind, f"my-{kind}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    commands = [shlex.split(line[line.index("python") :]) for line in lines]
    assert commands[0] == ["python", "-m", "pytest", f"test_my_{kind}.py"]
    assert Path(commands[0][-1]).is_file()
    experiment = compose(commands[1][2:])
    assert getattr(experiment, kind).name == f"my-{kind}"
    assert experiment.schedule.warmup_epochs < experiment.epochs
    assert commands[2][:2] == ["python", "run.py"]
    assert main(commands[2][2:]) == 0
    assert f"my-{kind} ({kind})" in capsys.readouterr().out
    assert [words[2] for words in commands[3:]] == ([] if kind == "dataset" else ["check"])


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("run.py", "python run.py describe"),
        ("../run.py", "python ../run.py describe"),
        ("/usr/bin/sslzoo", "  sslzoo describe"),
        ("/somewhere/sslzoo/__main__.py", "python -m sslzoo describe"),
    ],
)
def test_printed_commands_use_the_same_program(
    program: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    new(["loss", "mine", "--folder", str(tmp_path / "with space")])
    output = capsys.readouterr().out
    assert command in output
    assert f"'{tmp_path / 'with space' / 'mine.py'}'" in output


def test_names_of_a_part() -> None:
    names = Names("my_first_loss")
    assert (names.module, names.part, names.class_name) == ("my_first_loss", "my-first-loss", "MyFirstLoss")


INVALID_ARGUMENTS = {
    "": "new: requires a kind and a name, as in `new target my_target`; kinds are method, target, loss, dataset",
    "tarqet x": "new tarqet: no such kind of part; did you mean target",
    "loss": "new loss: requires a name, as in `new loss my_loss`",
    "loss MyFirstLoss": "a name consists of lower-case words joined by _ or -, as in my_first_loss",
    "loss my_loss.py": "as in my_loss",
    "loss parts/sharp": "as in sharp",
    "loss 2x": "as in my_loss",
    "loss größe": "a name consists of lower-case words",
    "loss a--b": "as in a_b",
    "loss _a": "as in a",
    "loss lambda": "new loss lambda: is a keyword of Python; use my_lambda",
    "loss cross_entropy": "the loss cross-entropy already exists, defined by "
    "sslzoo.losses.cross_entropy:CrossEntropy (sslzoo ",
    "dataset cifar10": "the dataset cifar10 already exists, defined by the built-in config dataset/cifar10",
    "dataset digits": "the dataset digits already exists",
    "loss random": "random.py would shadow the module of that name (",
    "loss torch": "torch.py would shadow the module of that name (",
    "target tensor": "its class would shadow Tensor, which it imports",
    "loss mine --foldr x": "unrecognized arguments: --foldr x; did you mean --folder?",
    "loss mine --folder no/such": "no/such: cannot be written: No such file or directory",
    "loss mine --folder here.txt": "here.txt: cannot be written: File exists",
    f"loss {'x' * 251}": "cannot be written: File name too long",
}


@pytest.mark.parametrize("words", INVALID_ARGUMENTS)
def test_invalid_argument_is_one_line_error_and_writes_nothing(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").touch()
    assert main(["new", *words.split()]) == 2
    line = capsys.readouterr().err
    assert INVALID_ARGUMENTS[words] in line
    assert line.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here.txt"]


@pytest.mark.parametrize("existing", ["mine.py", "test_mine.py"])
def test_existing_file_is_not_overwritten(existing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / existing).write_text("content")
    assert main(["new", "loss", "mine", "--folder", str(tmp_path)]) == 2
    assert f"{existing} already exists and is not overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "content"


def test_error_names_the_file_of_a_plugin_with_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new(["loss", "mine", "--folder", str(tmp_path)])
    load_plugin(str(tmp_path / "mine.py"))
    with pytest.raises(UserError, match=r"the loss mine already exists, defined by .*mine\.py:Mine"):
        new(["loss", "mine", "--folder", str(tmp_path / "other")])
