"""Weights out to timm and in from files."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import sslzoo.backbones  # noqa: F401  (registers the small ResNets)
from sslzoo.errors import UserError
from sslzoo.export import export_backbone, load_weights

MODELS = {
    "resnet10t": ({"in_chans": 3, "num_classes": 0}, 32),
    "resnet18_cifar": ({"in_chans": 1, "num_classes": 0, "channels": [8, 8, 8, 8]}, 16),
    "test_vit": ({"in_chans": 3, "num_classes": 0, "img_size": 32}, 32),
    "test_convnext": ({"in_chans": 3, "num_classes": 0}, 64),
}


@pytest.mark.parametrize("name", MODELS)
def test_timm_loads_what_is_exported(name: str, tmp_path: Path) -> None:
    arguments, size = MODELS[name]
    model = timm.create_model(name, **arguments)
    x = torch.randn(4, arguments["in_chans"], size, size)
    model.train()(x)  # moves the statistics of batch norm
    path = tmp_path / "backbone.safetensors"
    export_backbone(model, path, name=name, arguments=arguments)
    loaded = timm.create_model(name, checkpoint_path=path, **arguments)
    assert load_file(path).keys() == timm.create_model(name, **arguments).state_dict().keys()
    assert torch.equal(model.eval()(x), loaded.eval()(x))
    assert [file.name for file in tmp_path.iterdir()] == ["backbone.safetensors"]


@pytest.fixture
def model() -> nn.Module:
    return timm.create_model("resnet10t", num_classes=0)


def test_a_classifier_is_left_out_and_said(model: nn.Module, tmp_path: Path) -> None:
    whole = timm.create_model("resnet10t", num_classes=10)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    report = load_weights(model, tmp_path / "whole.safetensors")
    total = len(whole.state_dict())
    assert sorted(report.left_out) == ["fc.bias", "fc.weight"]
    assert str(report).startswith(f"{total - 2} of {total} tensors loaded; left out: fc.")
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_state_dict_in_a_checkpoint(model: nn.Module, tmp_path: Path) -> None:
    other = timm.create_model("resnet10t", num_classes=0)
    torch.save({"state_dict": other.state_dict(), "epoch": 3}, tmp_path / "weights.pth")
    assert load_weights(model, tmp_path / "weights.pth").left_out == []
    assert torch.equal(model.bn1.weight, other.bn1.weight)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_files_that_are_not_weights(model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    messages = {
        "missing.pth": "no such file",
        "cut.safetensors": "cannot be read as weights",
        "bomb.pth": "holds more than tensors, which could run code and is never loaded",
        "list.pth": "holds no state_dict",
    }
    for name, message in messages.items():
        with pytest.raises(UserError) as error:
            load_weights(model, tmp_path / name)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model(model: nn.Module, tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"weights of another model: .*\d+ of another shape: .* and \d+ more"):
        load_weights(model, tmp_path / "other.safetensors")
