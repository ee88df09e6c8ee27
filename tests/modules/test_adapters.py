"""Low-rank adapters train instead of the weights, and can be merged into them."""

import builtins
import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sslzoo.experiment.compose import compose
from sslzoo.modules.adapters import add_adapters, merge_adapters
from sslzoo.modules.layers import freeze_layers, group_parameters
from sslzoo.runtime.errors import UserError
from sslzoo.training.setup import create_method
from sslzoo.weights.load import load_checkpoint


def create_vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=0, img_size=32, patch_size=8).eval()


def train_adapters(backbone: nn.Module) -> None:
    """Take a step of gradient descent."""
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    for _ in range(2):  # the first one changes only one of the two matrices
        backbone(torch.randn(4, 3, 32, 32)).square().mean().backward()
        torch.optim.SGD(parameters, lr=1.0).step()


def test_adapters_start_as_zero_and_alone_are_trained() -> None:
    backbone, images = create_vit(), torch.randn(2, 3, 32, 32)
    before, features = copy.deepcopy(backbone.state_dict()), backbone(images)
    add_adapters(backbone, 4)
    assert torch.equal(backbone(images), features)
    trained = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 4 * 6  # two matrices for each of four layers in six blocks
    assert all("lora" in name for name in trained)
    train_adapters(backbone)
    assert not torch.allclose(backbone(images), features)
    after = {name.replace(".base_layer", ""): value for name, value in backbone.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_merged_weights_are_the_sum_of_weights_and_products() -> None:
    backbone, images = create_vit(), torch.randn(2, 3, 32, 32)
    start = copy.deepcopy(backbone.state_dict())
    add_adapters(backbone, 4)
    train_adapters(backbone)
    names, merged = list(backbone.state_dict()), merge_adapters(backbone)
    assert list(backbone.state_dict()) == names
    torch.testing.assert_close(merged(images), backbone(images), rtol=1e-5, atol=1e-5)
    plain = create_vit()
    plain.load_state_dict(merged.state_dict())
    assert torch.equal(plain(images), merged(images))
    layer = backbone.get_submodule("blocks.1.mlp.fc1")
    down, up = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    expected = start["blocks.1.mlp.fc1.weight"].double() + up @ down
    torch.testing.assert_close(merged.get_parameter("blocks.1.mlp.fc1.weight").double(), expected)


def test_frozen_blocks_have_no_adapters_and_the_others_their_own_learning_rate() -> None:
    backbone = create_vit()
    freeze_layers(backbone, 4)
    add_adapters(backbone, 2)
    trained = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
    assert {name.split(".")[1] for name in trained} == {"4", "5"}
    groups = group_parameters(backbone, backbone, layer_decay=0.5, weight_decay=0.1, decay_all=False)
    assert {group["lr_scale"] for group in groups} == {0.5, 1.0}


def test_momentum_encoder_follows_the_adapters() -> None:
    flags = ["--backbone", "test_vit", "--img-size", "32", "--backbone.lora", "2", "--method.momentum", "0.5"]
    method: Any = create_method(compose(["--method", "moco", *flags]))
    with torch.no_grad():
        for name, parameter in method.student.named_parameters():
            if "lora_B" in name:
                parameter.fill_(1)
    method.after_step(0.0)
    teacher = dict(method.teacher.named_parameters())
    student = dict(method.student.named_parameters())
    follows = [value for name, value in teacher.items() if "lora_B" in name]
    assert follows
    assert all((value == 0.5).all() for value in follows)
    base = [name for name in student if "base_layer" in name]
    found = {name: value for name, value in teacher.items() if "base_layer" in name}
    assert len(base) == len(found)
    assert all(torch.equal(one, other) for one, other in zip(found.values(), map(student.get, base), strict=True))


def test_checkpoint_of_a_run_loads_into_the_plain_model(tmp_path: Path) -> None:
    flags = ["--backbone", "test_vit", "--img-size", "32", "--backbone.lora", "2", "--dataset.channels", "3"]
    student = create_method(compose(["--method", "moco", *flags])).student
    train_adapters(student.backbone.eval())
    tensors = {f"student.{name}": value for name, value in student.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    plain = timm.create_model("test_vit", num_classes=0, img_size=32).eval()
    load_checkpoint(plain, tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(images), student.backbone(images), rtol=1e-5, atol=1e-5)

    del tensors["student.backbone.blocks.0.attn.qkv.lora_A.default.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"missing: blocks.0.attn.qkv.weight"):
        load_checkpoint(plain, tmp_path / "model.safetensors")


def test_networks_without_linear_layers_are_refused() -> None:
    with pytest.raises(UserError, match=r"--backbone.lora 4: ResNet has no linear layers to adapt; use --backbone.fr"):
        add_adapters(timm.create_model("resnet10t", num_classes=0), 4)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"--backbone.lora 4: needs peft; `pip install 'sslzoo\[lora\]'`"):
        add_adapters(create_vit(), 4)
