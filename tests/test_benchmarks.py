"""Benchmarks: their calculations, and a scaled-down run of the GPU stages."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from sslzoo.experiment.compose import compose
from sslzoo.plan.measure import Measurement

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a benchmark under a unique module name."""

    def load_module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses need their module
        spec.loader.exec_module(module)
        return module

    return load_module


def test_gpu_runs_have_the_settings_of_the_papers(load: Callable[[str], ModuleType]) -> None:
    runs = {name: compose(flags) for name, flags in load("gpu").TRAIN.items()}
    authors, moco, ascl = runs["moco-authors"], runs["moco"], runs["ascl"]
    assert (authors.epochs, authors.batch_size, authors.optimizer.lr) == (200, 512, 0.06)
    assert (authors.evaluation.knn_k, authors.evaluation.knn_temperature) == ((200,), (0.1,))
    assert {(run.epochs, run.batch_size, run.optimizer.lr, run.backbone.name) for run in (moco, ascl)} == {
        (200, 256, 0.03, "resnet18")
    }
    assert (moco.target.name, ascl.target.name) == ("one-hot", "adaptive-soft")


def test_gpu_stages_resolve_auto_settings(load: Callable[[str], ModuleType]) -> None:
    """If `auto` were not resolved, augmentations would not use their kernel."""
    gpu = load("gpu")
    stepper = gpu.create_stepper(gpu.compose_cifar10("--method", "ascl", "--batch-size", "32"), images=64)
    assert stepper.experiment.compile_augmentations is True
    assert stepper.experiment.precision != "auto"


def test_gpu_stages_run_scaled_down(tmp_path: Path) -> None:
    """Runs `check` without the methods, for which zero seconds remain."""
    words = [sys.executable, BENCHMARKS / "gpu.py", "check", "speed", "--seconds", "0", "--out", tmp_path]
    subprocess.run(words, check=True, capture_output=True)
    checked, speed = (json.loads((tmp_path / f"{stage}.json").read_text()) for stage in ("check", "speed"))
    assert checked["resume bit-identical"] == {"bf16": True, "fp32": True}
    assert checked["views cifar10 strong"]["largest difference"] == 0
    assert not [value for value in checked.values() if "FAILED" in str(value)]
    assert len(speed) > 1


def test_extraction_of_evaluate_is_timed(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    embed = load("embed")
    embed.write_images(tmp_path / "images", 16)
    words = [*embed.ENCODER, "--img-size", "32", "--threads", "1", "--dataset.workers", "0"]
    assert embed.time_extraction(tmp_path / "images", words, tmp_path) > 0


def test_contenders_are_timed_in_turn(load: Callable[[str], ModuleType]) -> None:
    rounds, calls = load("rounds"), []
    contenders = {name: (lambda name=name: calls.append(name)) for name in ("first", "second")}
    comparison = rounds.Comparison("work", "calls a second", 1, contenders)
    rows = rounds.time_contenders(comparison, repeats=3)
    assert calls == ["first", "second"] * 4  # the first round is not counted
    assert [(row.name, len(row.seconds)) for row in rows] == [("first", 3), ("second", 3)]
    assert rounds.format_time(comparison, 0.01) == "100"
    assert rounds.format_time(rounds.Comparison("", "", 1, {}), 0.25) == "250.0"


def test_scaling_estimates_match_calculation_by_hand(load: Callable[[str], ModuleType]) -> None:
    mib = 2**20
    received = {"gradients": 40 * mib, "keys and images": mib, "statistics": 0}
    measured = Measurement([1.0], {}, 1, 1, 0, None, received, None)
    console = Console(width=400, record=True, quiet=False, file=None)
    with console.capture() as capture:
        load("scaling").estimate(console, measured, 2, 0.01)
    nvlink, infiniband = capture.get().splitlines()
    gathered = 7 * mib / 300e9
    assert "gradients 70.0 MiB" in nvlink  # 2 x 7/8 of 40
    assert f"keys and images 7.0 MiB {1e3 * gathered:.3f} ms" in nvlink
    assert f"{100 * 0.01 / (0.01 + gathered):.1f} % of ideal" in nvlink
    assert "keys and images 63.0 MiB" in infiniband


def test_operations_are_grouped_by_kind(load: Callable[[str], ModuleType]) -> None:
    operations = {
        "mkldnn_convolution": (5.0, 2.0),
        "addmm": (1.0, 1.0),
        "add_": (2.0, 9.0),
        "native_batch_norm": (1.0, 1.0),
    }
    profile = load("profile_step").Profile("", operations)
    assert list(profile.sum_by_kind().items()) == [
        ("convolution", 5.0), ("other", 2.0), ("matrix product", 1.0), ("batch norm", 1.0),
    ]  # fmt: skip
    assert (profile.milliseconds, profile.calls) == (9.0, 13.0)
