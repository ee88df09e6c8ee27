"""Documentation, templates and example packages import public names of sslzoo only."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sslzoo
from sslzoo.method import METHODS
from sslzoo.scaffold.command import KINDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEMPLATES = sorted((ROOT / "sslzoo/scaffold/templates").glob("*.py"))
PACKAGE = sorted((ROOT / "tests/plugin_package").rglob("*.py"))

PUBLIC_MODULES = {"sslzoo", "sslzoo.modules.backbones"}
"""Modules that may be imported as a whole; `sslzoo.modules.backbones` registers models in timm."""


def read_python(file: Path) -> str:
    """Read a Python file, or all Python code blocks of a Markdown page."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return text
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


def list_imports(code: str) -> Iterator[tuple[str, str | None]]:
    """Yield (module, name) of each import from sslzoo; None as name of a whole module."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.partition(".")[0] == "sslzoo")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sslzoo":
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_public(module: str, name: str | None) -> bool:
    """Whether a package exports a name, or the name is the class of a built-in method in its file."""
    if name is None:
        return module in PUBLIC_MODULES
    if module.startswith("sslzoo.methods."):
        part = getattr(importlib.import_module(module), name, None)
        return inspect.isclass(part) and part.__module__ == module and getattr(part, "name", None) in METHODS.names()
    package = importlib.import_module(module)
    return hasattr(package, "__path__") and name in getattr(package, "__all__", ())


def find_internal_imports(code: str) -> list[str]:
    """Find the imports of names that are not public."""
    imports = [(module, name) for module, name in list_imports(code) if not is_public(module, name)]
    return [module if name is None else f"{module}.{name}" for module, name in imports]


@pytest.mark.parametrize("file", [*PAGES, *TEMPLATES, *PACKAGE], ids=lambda file: file.name)
def test_imports_are_public(file: Path) -> None:
    assert find_internal_imports(read_python(file)) == []


def test_pages_and_templates_contain_imports() -> None:
    files = [file for file in (*PAGES, *TEMPLATES) if list(list_imports(read_python(file)))]
    assert {file.name for file in files} >= {"plugins.md", "design.md", "README.md", "new_method.py"}
    assert len(TEMPLATES) == 2 * len(KINDS)


@pytest.mark.parametrize(
    "line",
    [
        "from sslzoo.check.tiny import create_tiny_method",
        "from sslzoo.config.registry import Registry",
        "from sslzoo.data import load",
        "import sslzoo.training.loop",
        "from sslzoo import training",
        "from sslzoo.methods.moco import F",
        "def test():\n    from sslzoo.experiment.compose import compose",
    ],
)
def test_internal_import_is_found(line: str) -> None:
    assert len(find_internal_imports(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "import sslzoo",
        "from sslzoo import Method, compose",
        "from sslzoo.targets import TARGETS, Target",
        "from sslzoo.methods.moco import MoCo",
        "import numpy, sslzoo.modules.backbones",
    ],
)
def test_public_import_is_accepted(line: str) -> None:
    assert find_internal_imports(line) == []


def test_all_public_names_have_a_docstring() -> None:
    registries = {"METHODS", "TARGETS", "LOSSES", "DATASETS"}
    assert [name for name in sslzoo.__all__ if name not in registries and not getattr(sslzoo, name).__doc__] == []
