"""Registries of built-in and third-party classes, and their errors."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sslzoo.cli import main
from sslzoo.config import registry as registry_module
from sslzoo.config.registry import Registry
from sslzoo.losses import Loss
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS

TARGET = """
from sslzoo.targets import TARGETS, Target

@TARGETS.register("{name}")
class Theirs(Target):
    '''Theirs.'''
"""


class Thing:
    """A registered class."""

    name = ""


@pytest.fixture
def things(monkeypatch: pytest.MonkeyPatch) -> Registry:
    entries = [
        EntryPoint("broken", "no_such_package.module:Broken", "sslzoo.things"),
        EntryPoint("silent", "json:JSONDecoder", "sslzoo.things"),
    ]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries if group == "sslzoo.things" else [])
    return Registry("thing")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for installed packages."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(TARGETS, "_entry_points", None)
    return tmp_path


def install(site: Path, package: str, code: str, **entries: str) -> None:
    """Install a package as pip does: a module, and metadata with entry points of targets."""
    (site / f"{package}.py").write_text(code)
    info = site / f"{package}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[sslzoo.targets]", *lines]))


def test_registered_class_has_its_name(things: Registry) -> None:
    things.register("mine")(Thing)
    assert things.get("mine") is Thing
    assert Thing.name == "mine"
    assert things.names() == ["broken", "mine", "silent"]


def test_unknown_name_suggests_similar_ones() -> None:
    with pytest.raises(UserError, match=r"--target adaptive-sft: no such target; did you mean adaptive-soft"):
        TARGETS.get("adaptive-sft")


def test_duplicate_name_reports_both_owners(things: Registry) -> None:
    things.register("mine")(Thing)
    with pytest.raises(UserError, match=r"'mine' is defined twice: by .*test_registry\.py:Thing and by .*Other$"):

        @things.register("mine")
        class Other:
            pass


def test_duplicate_of_an_entry_point_is_an_error_without_importing_it(things: Registry) -> None:
    with pytest.raises(UserError, match=r"defined twice: by no_such_package\.module:Broken and by"):
        things.register("broken")(Thing)


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "", "a,b", "a:b", "ä"])
def test_names_that_are_invalid_on_a_command_line(things: Registry, name: str) -> None:
    with pytest.raises(UserError, match="a name consists of letters, digits and - _"):
        things.register(name)


def test_class_cannot_have_two_names(things: Registry) -> None:
    things.register("one")(Thing)
    with pytest.raises(UserError, match=r"thing 'two': .*Thing is already registered as 'one'"):
        things.register("two")(Thing)
    assert Thing.name == "one"


def test_class_of_another_kind_is_an_error() -> None:
    with pytest.raises(UserError, match=r"target 'lost': .*base\.py:Loss does not derive from Target"):
        TARGETS.register("lost")(Loss)


def test_broken_entry_point_is_reported_and_others_still_work(things: Registry) -> None:
    things.register("mine")(Thing)
    with pytest.raises(UserError, match=r"--thing broken: no_such_package.module:Broken cannot be imported: ModuleNot"):
        things.get("broken")
    with pytest.raises(UserError, match="does not register a thing of that name"):
        things.get("silent")
    assert things.get("mine") is Thing


def test_duplicate_packages_are_reported_and_others_still_work(site: Path) -> None:
    install(site, "one_pack", TARGET.format(name="other"), same="one_pack:A", other="one_pack:Theirs")
    install(site, "two_pack", "", same="two_pack:A")
    with pytest.raises(UserError) as error:
        TARGETS.get("same")
    for owner in ("one_pack:A (one_pack 1.5)", "two_pack:A (two_pack 1.5)"):
        assert owner in str(error.value)
    assert TARGETS.get("other").__doc__ == "Theirs."
    assert TARGETS.owner("other") == "one_pack:Theirs (one_pack 1.5)"


def test_package_with_the_name_of_a_built_in_class_is_an_error(site: Path) -> None:
    install(site, "one_pack", TARGET.format(name="hard"), hard="one_pack:Theirs")
    with pytest.raises(UserError, match=r"by sslzoo.*:Hard \(sslzoo .*one_pack:Theirs \(one_pack|one_pack.*sslzoo"):
        TARGETS.get("hard")
    assert TARGETS.get("one-hot").name == "one-hot"


@pytest.mark.parametrize("code", ["1 / 0", "import no_such_module", "raise SystemExit('bye')", "def"])
def test_other_packages_work_beside_a_broken_one(
    site: Path, code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "bad_pack", code, bad="bad_pack:Bad")
    with pytest.raises(UserError, match=r"^--target bad: bad_pack:Bad \(bad_pack 1.5\) cannot be imported: \w+: "):
        TARGETS.get("bad")
    assert {"hard", "one-hot"} <= {name for name, _ in TARGETS}
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["list"]) == 0
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("target ")}
    assert "bad_pack:Bad (bad_pack 1.5) cannot be imported" in rows["bad"]
    assert "cannot be imported" not in rows["hard"]
    assert main(["list", "--pairs"]) == 0
    assert "not listed, because they cannot be imported (`list` shows the error): bad\n" in capsys.readouterr().out
    assert main(["describe", "hard"]) == 0
    assert main(["describe", "bad"]) == 2


def test_entry_point_may_point_to_a_re_exported_class(site: Path) -> None:
    (site / "pack").mkdir()
    (site / "pack" / "inner.py").write_text(TARGET.format(name="theirs"))
    install(site, "other", "")
    install(site, "pack", "", theirs="pack:Theirs", module="pack.second")
    (site / "pack.py").rename(site / "pack" / "__init__.py")
    (site / "pack" / "__init__.py").write_text("from pack.inner import Theirs")
    (site / "pack" / "second.py").write_text(TARGET.format(name="module"))
    assert TARGETS.get("theirs").__module__ == "pack.inner"
    assert TARGETS.get("module").__module__ == "pack.second"


def test_entry_point_to_another_class_is_an_error(site: Path) -> None:
    code = TARGET.format(name="theirs") + "class Second(Target): pass\n"
    install(site, "pack", code, theirs="pack:Second")
    with pytest.raises(UserError, match=r"defined twice: by pack:Second \(pack 1.5\) and by .*pack\.py:Theirs"):
        TARGETS.get("theirs")
