"""`run.py new`: what it writes works at once, and what it refuses leaves nothing behind."""

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
    """A folder with a new part of each kind."""
    folder = tmp_path_factory.mktemp("parts")
    for kind in KINDS:
        assert new([kind, f"my_{kind}", "--folder", str(folder)]) == 0
    return folder


@pytest.mark.long
def test_generated_tests_pass_under_plain_pytest_and_each_kind_has_some(written: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=written, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        assert (written / f"test_my_{kind}.py").read_text().count("def test_") >= 4


@pytest.mark.parametrize("length", [1, 24])
def test_generated_files_are_clean_by_ruffs_own_rules(length: int, tmp_path: Path) -> None:
    for kind in KINDS:
        new([kind, "a" * length + f"_{kind}", "--folder", str(tmp_path)])
    for words in (["check"], ["format", "--diff"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", "--no-cache", "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_can_be_typed(
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
    ("started", "said"),
    [
        ("run.py", "python run.py describe"),
        ("../run.py", "python ../run.py describe"),
        ("/usr/bin/sslzoo", "  sslzoo describe"),
        ("/somewhere/sslzoo/__main__.py", "python -m sslzoo describe"),
    ],
)
def test_commands_begin_as_this_one_did(
    started: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    new(["loss", "mine", "--folder", str(tmp_path / "with space")])
    shown = capsys.readouterr().out
    assert said in shown
    assert f"'{tmp_path / 'with space' / 'mine.py'}'" in shown


def test_names() -> None:
    names = Names("my_first_loss")
    assert (names.module, names.part, names.cls) == ("my_first_loss", "my-first-loss", "MyFirstLoss")


MISTAKES = {
    "": "new: takes a kind and a name, as in `new target my_target`; kinds are method, target, loss, dataset",
    "tarqet x": "new tarqet: no such kind of part; did you mean target",
    "loss": "new loss: takes a name, as in `new loss my_loss`",
    "loss MyFirstLoss": "a name is lower-case words joined by _ or -, as in my_first_loss",
    "loss my_loss.py": "as in my_loss",
    "loss parts/sharp": "as in sharp",
    "loss 2x": "as in my_loss",
    "loss größe": "a name is lower-case words",
    "loss a--b": "as in a_b",
    "loss _a": "as in a",
    "loss lambda": "new loss lambda: is a word of Python's own; my_lambda is not",
    "loss cross_entropy": "there is a loss cross-entropy already, by sslzoo.losses.cross_entropy:CrossEntropy (sslzoo ",
    "dataset cifar10": "there is a dataset cifar10 already, by the config dataset/cifar10 that ships",
    "dataset digits": "there is a dataset digits already",
    "loss random": "random.py would hide the module of that name (",
    "loss torch": "torch.py would hide the module of that name (",
    "target tensor": "its class would have the name of Tensor, which it needs",
    "loss mine --foldr x": "unrecognized arguments: --foldr x; did you mean --folder?",
    "loss mine --folder no/such": "no/such: cannot be written: No such file or directory",
    "loss mine --folder here.txt": "here.txt: cannot be written: File exists",
    f"loss {'x' * 251}": "cannot be written: File name too long",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").touch()
    assert main(["new", *words.split()]) == 2
    line = capsys.readouterr().err
    assert MISTAKES[words] in line
    assert line.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here.txt"]


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / there).write_text("of value")
    assert main(["new", "loss", "mine", "--folder", str(tmp_path)]) == 2
    assert f"{there} exists already; nothing is overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "of value"


def test_a_name_that_a_plugin_has_is_told_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new(["loss", "mine", "--folder", str(tmp_path)])
    load_plugin(str(tmp_path / "mine.py"))
    with pytest.raises(UserError, match=r"there is a loss mine already, by .*mine\.py:Mine"):
        new(["loss", "mine", "--folder", str(tmp_path / "other")])
