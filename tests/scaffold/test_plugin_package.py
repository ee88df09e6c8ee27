"""Parts of an installed package are available until it is uninstalled."""

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from sslzoo.scaffold.command import KINDS, new

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]

USE = """
import shlex
from sslzoo.cli import main
assert main(["describe", "example-target"]) == 0
assert main(["describe", "example-broken"]) == 2
assert main(["list"]) == 0
assert main(shlex.split(
    "--method example-method --target example-target --loss example-loss --dataset example-dataset --run-folder run "
    "--img-size 16 --epochs 1 --batch-size 64 --schedule.warmup-epochs 0 --backbone resnet10t --threads 1 "
    "--backbone.kwargs '{channels: [8, 8, 8, 8]}' --knn-every 0"
)) == 0
"""


def python(code: str, folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]), "COLUMNS": "250"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def builds_wheels() -> bool:
    """Whether pip can build a wheel without a download."""
    found = all(importlib.util.find_spec(tool) is not None for tool in ("pip", "setuptools"))
    return found and int(version("setuptools").partition(".")[0]) > 70


@pytest.mark.skipif(not builds_wheels(), reason="requires pip, and a setuptools that builds wheels")
def test_parts_of_a_package_are_available_until_it_is_uninstalled(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ROOT / "tests" / "plugin_package", source)
    for kind in KINDS:
        new([kind, f"example_{kind}", "--folder", str(source / "sslzoo_example")])
    (source / "sslzoo_example" / "__init__.py").write_text(
        "from sslzoo_example.example_loss import ExampleLoss as ExampleLoss\n"
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, source], check=True, timeout=300)

    done = python(USE, tmp_path, site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "defined by: sslzoo_example.example_target:ExampleTarget (sslzoo-example 0.1)" in done.stdout
    broken = (
        "--target example-broken: sslzoo_example.example_broken:ExampleBroken (sslzoo-example 0.1) cannot be imported: "
        "ModuleNotFoundError: No module named 'sslzoo_example.example_broken'"
    )
    assert broken in done.stderr
    rows = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith(tuple(KINDS))}
    assert {"moco", "example-method", "example-target", "example-loss", "example-dataset"} <= set(rows)
    assert "cannot be imported" in rows["example-broken"]
    assert (tmp_path / "run" / "summary.json").is_file()

    shutil.rmtree(site)
    done = python("from sslzoo.targets import TARGETS; print(TARGETS.names())", tmp_path, site)
    assert "example" not in done.stdout
    assert "adaptive-soft" in done.stdout
