"""Imports point down the layers and form no circle, and `import sslzoo` does not import torch."""

import ast
import shutil
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sslzoo

ROOT = Path(sslzoo.__file__).resolve().parents[1]

LAYERS = (
    ("__main__",),
    ("cli",),
    ("api",),
    ("comparison", "check", "plan", "scaffold", "sharing"),
    ("training",),
    ("search", "preview"),
    ("embedding",),
    ("evaluation",),
    ("report",),
    ("experiment",),
    ("methods",),
    ("method",),
    ("targets", "losses"),
    ("data",),
    ("modules",),
    ("config",),
    ("weights",),
    ("health",),
    ("runtime",),
)
"""Packages from the top down; each imports only from those below it."""

LAYER_OF = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}


def module_name(root: Path, file: Path) -> str:
    """Return the dotted name of a file in `root`; the folder `methods/` is `sslzoo.methods`."""
    parts = file.relative_to(root).with_suffix("").parts
    parts = parts if parts[0] == "sslzoo" else ("sslzoo", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(tree: ast.AST, package: str, modules: set[str]) -> set[str]:
    """Find the modules of sslzoo that a file imports, including imports within functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([package, *filter(None, [node.module])]) if node.level else node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in modules else base)
    return found & modules


def build_graph(root: Path) -> dict[str, set[str]]:
    """Map each module to the modules of sslzoo that it imports."""
    files = {
        module_name(root, file): file
        for folder in ("sslzoo", "methods")
        for file in (root / folder).rglob("*.py")
        if "templates" not in file.parts
    }
    graph = {}
    for name, file in files.items():
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        graph[name] = find_imports(ast.parse(file.read_text(encoding="utf-8")), package, set(files)) - {name}
    del graph["sslzoo"]  # the public interface, which imports lazily
    return {name: targets - {"sslzoo"} for name, targets in graph.items()}


def find_upward_imports(graph: dict[str, set[str]]) -> list[str]:
    """Find imports from a higher package, or from another package of the same layer."""
    upward = []
    for name, targets in graph.items():
        here = name.split(".")[1]
        for target in targets:
            there = target.split(".")[1]
            if there != here and LAYER_OF[there] <= LAYER_OF[here]:
                upward.append(f"{name} imports {target}")
    return sorted(upward)


def remove_packages(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Remove `__init__` modules, which re-export the names of their submodules."""
    packages = {name for name in graph if any(other.startswith(f"{name}.") for other in graph)}
    return {name: targets - packages for name, targets in graph.items() if name not in packages}


def test_imports_point_down() -> None:
    graph = build_graph(ROOT)
    assert len(graph) > 150
    assert find_upward_imports(graph) == []


def test_imports_form_no_circle() -> None:
    tuple(TopologicalSorter(remove_packages(build_graph(ROOT))).static_order())


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("sslzoo/data/batch.py", "from sslzoo.training import loop", "sslzoo.data.batch imports sslzoo.training.loop"),
        ("sslzoo/targets/one_hot.py", "import sslzoo.losses", "sslzoo.targets.one_hot imports sslzoo.losses"),
        ("sslzoo/method/base.py", "def f():\n    import sslzoo.methods.moco", "imports sslzoo.methods.moco"),
    ],
)
def test_planted_upward_import_is_found(file: str, line: str, fault: str, tmp_path: Path) -> None:
    for folder in ("sslzoo", "methods"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / file).open("a") as source:
        source.write(f"\n{line}\n")
    (found,) = find_upward_imports(build_graph(tmp_path))
    assert found.endswith(fault)


def test_planted_circle_is_found(tmp_path: Path) -> None:
    for folder in ("sslzoo", "methods"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "sslzoo/data/augment/config.py").open("a") as source:
        source.write("\ndef f():\n    from sslzoo.data.augment.view import create_view\n")
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(remove_packages(build_graph(tmp_path))).static_order())


def test_public_names_are_imported_on_first_use() -> None:
    code = (
        "import sys, sslzoo\n"
        "assert not {'torch', 'timm', 'datasets', 'pydantic'} & set(sys.modules)\n"
        "late = {'load_data', 'train', 'embed', 'evaluate', 'Evaluation', 'compare', 'Run', 'Event'}\n"
        "assert all(getattr(sslzoo, name) for name in sslzoo.__all__ if name not in late)\n"
        "assert 'torch' in sys.modules\n"
        "assert 'datasets' not in sys.modules\n"
        "assert all(getattr(sslzoo, name) for name in late)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'Methods'"):
        _ = sslzoo.Methods  # type: ignore[attr-defined]


def test_installed_packages_are_those_of_the_checkout() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    found = {".".join(file.relative_to(ROOT).parent.parts) for file in (ROOT / "sslzoo").rglob("__init__.py")}
    listed = set(tool["setuptools"]["packages"])
    assert listed - found == {"sslzoo.methods", "sslzoo.configs"}
    assert found <= listed
