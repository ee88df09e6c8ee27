"""Finished runs, written without training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from sslzoo.experiment.compose import compose
from sslzoo.experiment.input_config import describe_input
from sslzoo.modules.backbones import create_backbone, model_arguments, resolve_name
from sslzoo.training.folder import RunFolder
from sslzoo.weights.export import export_backbone

SMALL_RESNET = ["--method", "ascl", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}"]
"""Flags of a run on the digits."""


def write_run(path: Path, flags: list[str]) -> nn.Module:
    """Write the folder of a finished run with random weights, and return its backbone."""
    experiment = compose([*flags, "--run-folder", str(path), "--precision", "fp32", "--compile-augmentations", "true"])
    folder = RunFolder.create(experiment)
    settings = {"in_chans": experiment.dataset.channels, "img_size": experiment.img_size}
    torch.manual_seed(0)
    backbone = create_backbone(experiment.backbone, **settings)
    with torch.no_grad():  # statistics of batch norm as after training
        backbone.train()(torch.randn(8, settings["in_chans"], experiment.img_size, experiment.img_size))
    name, arguments = (
        resolve_name(experiment.backbone, experiment.img_size),
        model_arguments(experiment.backbone, **settings),
    )
    export_backbone(backbone, folder.backbone, name=name, arguments=arguments, input_config=describe_input(experiment))
    score = {"accuracy": 0.847, "std": 0.056, "interval": [0.823, 0.871], "top5": None, "chosen": {"k": 5}}
    summary = {
        "method": experiment.method.name, "epochs": 60, "train_images": 1297, "device": "a CPU", "processes": 1,
        "train_seconds": 7200.0, "protocol": "frozen backbone of the last epoch, 60 epochs",
        "test": {"trained": {"knn": score, "labels": 10, "draws": 20}},
    }  # fmt: skip
    folder.summary.write_text(json.dumps(summary))
    environment = {
        "command": ["run.py", "--method", experiment.method.name, "--run-folder", "my run"], "commit": "c0ffee",
        "packages": {"sslzoo": "0.2.0", "torch": "2.11", "timm": "1.0.31"},
    }  # fmt: skip
    folder.environment.write_text(json.dumps(environment))
    for plot in ("curves.png", "tsne.png", "augmentations.png"):
        Image.new("L", (4, 4)).save(path / plot)
    return backbone.eval()


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., tuple[Path, nn.Module]]:
    """Write a finished run below the test's temporary folder: `make_run(["--method", "moco"])`."""

    def make(flags: list[str] = SMALL_RESNET) -> tuple[Path, nn.Module]:
        path = tmp_path / "runs" / "my run"
        return path, write_run(path, flags)

    return make
