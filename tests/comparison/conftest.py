"""Fixtures that write finished runs without training."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.modules.backbones import create_backbone, model_arguments, resolve_name
from sslzoo.weights.export import export_backbone

SMALL = [
    "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--epochs", "2", "--dataset.limit", "256",
    "--dataset.test-limit", "60", "--schedule.warmup-epochs", "0",
]  # fmt: skip


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Flags of short runs on the digits."""
    return SMALL


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Write a run folder: `write_run(path, ["--method", "moco"], seed=1, knn=0.5, linear=0.6)`."""
    return _write_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder below the test's temporary folder."""
    return lambda name, words, **facts: _write_run(tmp_path / name, words, **facts)


@cache
def _compose(words: tuple[str, ...]) -> Experiment:
    return compose([*SMALL, *words])


def _write_run(
    folder: Path, words: list[str], *, seed: int = 0, knn: float = 0.5, linear: float = 0.6, **facts: object
) -> Path:
    experiment = _compose(tuple(words)).model_copy(update={"seed": seed})
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(experiment.as_yaml())
    records: list[dict[str, float]] = [{"step": 0, "epoch": 0, "knn": 0.1}]
    records += [{"step": s, "epoch": s / 2, "loss": 5 - s / 4, "seconds": 1.0} for s in range(1, 5)]
    records += [{"step": 4, "epoch": 2, "knn": knn}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    packages = {"sslzoo": "0.1.0", "torch": "2.0"}
    (folder / "environment.json").write_text(json.dumps({"commit": "c0ffee", "python": "3.12", "packages": packages}))
    small = {"knn": {"accuracy": 0.25}, "linear": {"accuracy": 0.3}, "labels": 10, "draws": 20}
    scores = {"knn": {"accuracy": knn}, "linear": {"accuracy": linear}, "labels": 10, "draws": 20}
    summary = {
        "method": experiment.method.name, "directions": "one-directional", "processes": 1, "threads": 2,
        "device": "a CPU", "train_seconds": 90.0, "images_per_second": 1000.0, "steps": 4, "epochs": 2,
        "seed": seed,
        "peak_memory": {"host": 2**30, "device": None}, "backbone": "resnet10t_cifar", "dataset": "digits",
        "protocol": "frozen backbone of the last epoch",
        "test": {"trained": scores, "untrained": small, "raw pixels (8 px)": small},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary | facts))
    arguments = model_arguments(experiment.backbone, in_chans=1, img_size=8)
    backbone = create_backbone(experiment.backbone, in_chans=1, img_size=8)
    name_in_timm = resolve_name(experiment.backbone, 8)
    export_backbone(backbone, folder / "backbone.safetensors", name=name_in_timm, arguments=arguments)
    return folder
