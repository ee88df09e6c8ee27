"""Export weights to timm, and load them again."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sslzoo.modules.backbones import BackboneConfig, create_backbone
from sslzoo.weights.export import export_backbone

MODELS = {
    "resnet10t": ({"in_chans": 3, "num_classes": 0}, 32),
    "resnet18_cifar": ({"in_chans": 1, "num_classes": 0, "channels": [8, 8, 8, 8]}, 16),
    "test_vit": ({"in_chans": 3, "num_classes": 0, "img_size": 32}, 32),
    "test_convnext": ({"in_chans": 3, "num_classes": 0}, 64),
}


@pytest.mark.parametrize("name", MODELS)
def test_timm_loads_an_exported_backbone(name: str, tmp_path: Path) -> None:
    arguments, size = MODELS[name]
    model = timm.create_model(name, **arguments)
    x = torch.randn(4, arguments["in_chans"], size, size)
    model.train()(x)  # updates the batch norm statistics
    path = tmp_path / "backbone.safetensors"
    export_backbone(model, path, name=name, arguments=arguments)
    loaded = timm.create_model(name, checkpoint_path=path, **arguments)
    assert load_file(path).keys() == timm.create_model(name, **arguments).state_dict().keys()
    assert torch.equal(model.eval()(x), loaded.eval()(x))
    assert [file.name for file in tmp_path.iterdir()] == ["backbone.safetensors"]


def test_equal_weights_are_equal_files_that_others_can_read(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=0)
    contents = set()
    for number in range(12):
        path = tmp_path / f"{number}.safetensors"
        export_backbone(model, path, name="test_vit", arguments={"num_classes": 0, "note": "\u00e4"})
        contents.add(path.read_bytes())
    assert len(contents) == 1
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["timm_arguments"]) == {"num_classes": 0, "note": "\u00e4"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in load_file(path).items())


def test_backbone_starts_from_an_exported_file(tmp_path: Path) -> None:
    config = BackboneConfig(name="resnet18", kwargs={"channels": [8, 8, 8, 8]})
    model = create_backbone(config, in_chans=3, img_size=32)
    path = tmp_path / "backbone.safetensors"
    export_backbone(model, path, name="resnet18_cifar", arguments={})
    lines: list[str] = []
    again = create_backbone(
        config.model_copy(update={"checkpoint": path}), in_chans=3, img_size=32, report=lines.append
    )
    total = len(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    assert lines == [f"backbone.safetensors: {total} of {total} tensors loaded"]
