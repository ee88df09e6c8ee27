"""Parts by name: built-in, third party, plug-in files, and what goes wrong with them."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sslzoo import registry as registry_module
from sslzoo.errors import UserError
from sslzoo.registry import Registry, load_plugin
from sslzoo.targets import TARGETS


class Thing:
    """A part."""

    name = ""


@pytest.fixture
def things(monkeypatch: pytest.MonkeyPatch) -> Registry:
    entries = [
        EntryPoint("broken", "no_such_package.module:Broken", "sslzoo.things"),
        EntryPoint("silent", "json:JSONDecoder", "sslzoo.things"),
    ]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries if group == "sslzoo.things" else [])
    return Registry("thing")


def test_a_registered_class_is_found_and_knows_its_name(things: Registry) -> None:
    things.register("mine")(Thing)
    assert things.get("mine") is Thing
    assert Thing.name == "mine"
    assert things.names() == ["broken", "mine", "silent"]


def test_an_unknown_name_brings_near_misses() -> None:
    with pytest.raises(UserError, match=r"--target adaptive-sft: no such target; did you mean adaptive-soft"):
        TARGETS.get("adaptive-sft")


def test_a_clash_names_both_owners(things: Registry) -> None:
    things.register("mine")(Thing)
    with pytest.raises(UserError, match=r"'mine' is defined twice: by .*Thing and by .*Other"):

        @things.register("mine")
        class Other:
            pass


def test_a_clash_with_an_entry_point_is_refused_before_it_is_imported(things: Registry) -> None:
    with pytest.raises(UserError, match=r"defined twice: by no_such_package\.module:Broken and by"):
        things.register("broken")(Thing)


def test_two_packages_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("same", value, "sslzoo.things") for value in ("a:A", "b:B")]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries)
    with pytest.raises(UserError, match="by a:A and by b:B"):
        Registry("thing").names()


def test_a_part_that_does_not_import_is_told_by_name_and_leaves_the_rest(things: Registry) -> None:
    things.register("mine")(Thing)
    with pytest.raises(UserError, match=r"--thing broken: no_such_package.module:Broken does not import: ModuleNot"):
        things.get("broken")
    with pytest.raises(UserError, match="does not register a thing of that name"):
        things.get("silent")
    assert things.get("mine") is Thing


def test_plugin_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_plugin(str(tmp_path / "missing.py"))
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(UserError, match=r"bad.py: does not import: ZeroDivisionError: division by zero"):
        load_plugin(str(tmp_path / "bad.py"))
    plugin = tmp_path / "good.py"
    plugin.write_text(
        "from sslzoo.targets import TARGETS, Target\n\n"
        "@TARGETS.register('test-plugin-target')\n"
        "class Mine(Target):\n    '''Mine.'''\n"
    )
    load_plugin(str(plugin))
    load_plugin(str(plugin))  # a second time is no clash with itself
    assert TARGETS.get("test-plugin-target").__doc__ == "Mine."
