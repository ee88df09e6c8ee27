"""Plug-in files: how they are found and imported, and how a run's config records them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sslzoo.cli import main
from sslzoo.config.registry import load_plugin
from sslzoo.experiment.compose import compose
from sslzoo.experiment.resume import compose_resumed
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS

Forget = Callable[[], None]

CODE = """
from sslzoo.targets import TARGETS, Target

@TARGETS.register("{name}")
class Mine(Target):
    '''Mine.'''
"""


def write_plugin(file: Path, name: str, more: str = "") -> str:
    """Write a file that registers a target."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(CODE.format(name=name) + more)
    return str(file)


def test_file_can_be_loaded_twice(tmp_path: Path) -> None:
    file = write_plugin(tmp_path / "good.py", "mine")
    assert load_plugin(file) == file
    part = TARGETS.get("mine")
    load_plugin(file)
    assert TARGETS.get("mine") is part
    assert part.__doc__ == "Mine."


def test_files_with_the_same_name_in_two_folders_both_load(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        load_plugin(write_plugin(tmp_path / folder / "parts.py", f"of-{folder}"))
    assert TARGETS.get("of-a") is not TARGETS.get("of-b")


def test_duplicate_name_in_two_files_reports_both(tmp_path: Path) -> None:
    first = write_plugin(tmp_path / "a" / "parts.py", "mine")
    second = write_plugin(tmp_path / "b" / "parts.py", "mine")
    load_plugin(first)
    with pytest.raises(UserError) as error:
        load_plugin(second)
    assert str(error.value) == f"target 'mine' is defined twice: by {first}:Mine and by {second}:Mine"


def test_file_with_the_name_of_a_built_in_class_is_an_error(tmp_path: Path) -> None:
    file = write_plugin(tmp_path / "mine.py", "hard")
    with pytest.raises(UserError) as error:
        load_plugin(file)
    assert "by sslzoo.targets.adaptive:Hard (sslzoo " in str(error.value)
    assert f"by {file}:Mine" in str(error.value)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_file_can_import_another_plugin_of_its_folder(order: tuple[int, int], tmp_path: Path) -> None:
    files = [
        write_plugin(tmp_path / "below.py", "below"),
        write_plugin(tmp_path / "above.py", "above", "from below import Mine as Below\nMine.below = Below\n"),
    ]
    for number in order:
        load_plugin(files[number])
    assert TARGETS.get("above").below is TARGETS.get("below")


@pytest.mark.parametrize("name", ["json.py", "my-parts.py", "my.parts.py", "class.py"])
def test_file_may_have_any_name_and_hides_no_module(name: str, tmp_path: Path) -> None:
    load_plugin(write_plugin(tmp_path / name, "mine"))
    assert TARGETS.get("mine").__doc__ == "Mine."
    import json

    assert json.dumps([1]) == "[1]"


def test_module_by_its_dotted_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    write_plugin(tmp_path / "pack" / "inner.py", "mine")
    (tmp_path / "pack" / "bad.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_plugin("pack.inner") == "pack.inner"
    assert compose(["--plugin", "pack.inner", "--method", "moco", "--target", "mine"]).plugin == ("pack.inner",)
    with pytest.raises(UserError, match=r"^--plugin pack.bad: cannot be imported: .*'no_such_module'$"):
        load_plugin("pack.bad")
    for name in ("pack.nothing", "no_such_pack.inner", "pack.inner.Mine"):
        with pytest.raises(UserError, match=f"^--plugin {name}: no such file or module$"):
            load_plugin(name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n1 / 0", r"ZeroDivisionError: division by zero \(line 2\)$"),
        ("def", r"SyntaxError: .*bad\.py, line 1\)"),
        ("raise SystemExit('bye')", r"SystemExit: bye \(line 1\)$"),
        ("from .below import x", "ImportError: attempted relative import"),
    ],
)
def test_file_that_cannot_be_imported_is_reported_with_its_line(code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    for _ in range(2):
        with pytest.raises(UserError, match=rf"^--plugin .*bad\.py: cannot be imported: {message}"):
            load_plugin(str(tmp_path / "bad.py"))


def test_missing_file_suggests_similar_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^--plugin my_part\.py: no such file$"):
        load_plugin("my_part.py")
    write_plugin(tmp_path / "my_part.py", "mine")
    for near in ("my_part", "my_prat.py"):
        with pytest.raises(UserError, match=rf"^--plugin {near}: no such file; did you mean my_part\.py\?$"):
            load_plugin(near)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="not a Python file"):
        load_plugin("notes.txt")


def test_run_finds_its_plugin_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_plugins: Forget
) -> None:
    file = write_plugin(tmp_path / "here" / "mine.py", "mine")
    monkeypatch.chdir(tmp_path / "here")
    config = compose(["--plugin", "mine.py", "--method", "moco", "--target", "mine"])
    assert config.plugin == (file,)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(config.as_yaml())
    forget_plugins()
    monkeypatch.chdir(tmp_path)
    assert compose_resumed(run, []).as_yaml() == config.as_yaml()
    assert compose_resumed(run, ["--plugin", "here/mine.py"]).plugin == (file,)  # the same file given again


def test_missing_plugin_is_reported_and_found_beside_the_config(tmp_path: Path, forget_plugins: Forget) -> None:
    file = Path(write_plugin(tmp_path / "here" / "mine.py", "mine"))
    config = tmp_path / "config.yaml"
    config.write_text(compose(["--plugin", str(file), "--method", "moco", "--target", "mine"]).as_yaml())
    moved = file.rename(tmp_path / "there.py")
    file.with_name("test_mine.py").touch()  # is not the plug-in
    forget_plugins()
    with pytest.raises(UserError) as error:
        compose(["--config", str(config)])
    assert str(error.value) == f"{config}: plugin {file}: no such file; searched {file} and {tmp_path / 'mine.py'}"
    moved.rename(tmp_path / "mine.py")
    load_plugin(str(tmp_path / "mine.py"))
    assert compose(["--config", str(config)]).plugin == (str(tmp_path / "mine.py"),)


def test_config_names_plugins_beside_itself(tmp_path: Path) -> None:
    write_plugin(tmp_path / "mine.py", "mine")
    config = tmp_path / "mine.yaml"
    config.write_text("plugin: mine.py\nmethod: moco\ntarget: mine")
    load_plugin(str(tmp_path / "mine.py"))
    assert compose(["--config", str(config)]).plugin == (str(tmp_path / "mine.py"),)
    for wrong in ("3", "[3]", "{}"):
        config.write_text(f"plugin: {wrong}")
        with pytest.raises(UserError, match="must be a file or a list of files"):
            compose(["--config", str(config)])


def test_list_and_describe_accept_several_plugins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write_plugin(tmp_path / f"{name}.py", name) for name in ("one", "two")]
    docs = (tmp_path / "one.py").read_text().replace("Mine.", "Weights in [/0, 1], of [positive, candidates].")
    (tmp_path / "one.py").write_text(docs)
    assert main(["list", "--plugin", files[0], "--plugin", files[1]]) == 0
    assert {"one", "two"} <= {line.split()[1] for line in capsys.readouterr().out.splitlines() if line[0] != " "}
    assert main(["describe", "one", "--plugin", *files]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "Weights in [/0, 1], of [positive, candidates]." in output
    assert f"definedby:{files[0]}:Mine" in output.replace(" ", "")
