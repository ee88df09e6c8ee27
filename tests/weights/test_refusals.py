"""Files that do not fit are one-line errors that suggest what would."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sslzoo.config.schema import SettingError
from sslzoo.modules.backbones import BackboneConfig, create_backbone
from sslzoo.runtime.errors import UserError
from sslzoo.weights.load import load_checkpoint


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


class Settings:
    """Settings of a script, of an unknown harmless class."""


def load_error(load: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        load()
    assert "\n" not in str(error.value)
    return str(error.value)


def under(prefix: str, model: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in model.state_dict().items()}


def test_files_without_weights_are_errors(resnet: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    (tmp_path / "cut.pth").write_bytes(b"\x80\x02}")
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": resnet.state_dict(), "config": Settings()}, tmp_path / "class.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    messages = {
        "missing.pth": "no such file",
        "cut.safetensors": "cannot be read as weights",
        "cut.pth": "cannot be read as weights",
        "bomb.pth": "which could run code and is never loaded",
        "old.pth": "which could run code and is never loaded",
        "class.pth": "contains more than tensors (test_refusals.Settings), which could run code and is never loaded; "
        "if you trust its source, save the state_dict alone, torch.save(checkpoint['state_dict'], FILE)",
        "list.pth": "contains no state_dict",
    }
    for name, expected in messages.items():
        message = load_error(lambda name=name: load_checkpoint(resnet, tmp_path / name))
        assert message.startswith(f"--backbone.checkpoint {tmp_path / name}: ")
        assert expected in message
    assert not (tmp_path / "ran").exists()


def test_allowed_classes_are_removed_after_loading(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(resnet.state_dict(), tmp_path / "file.pth")
    load_checkpoint(resnet, tmp_path / "file.pth")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


NAMES = {  # model in the file: requested model, settings, image size, message
    "resnet18": ("resnet34", {}, 96, "these are tensors of resnet18: --backbone resnet18"),
    "resnet50": ("resnet18", {}, 96, "these are tensors of resnet50: --backbone resnet50"),
    "vit_tiny_patch16_224": ("vit_small_patch16_224", {}, 224, "--backbone vit_tiny_patch16_224"),
    "resnet10t": ("resnet18", {}, 96, "weights of another model in module.encoder_q: "),
}


@pytest.mark.parametrize("name", NAMES)
def test_file_of_another_architecture(name: str, tmp_path: Path) -> None:
    requested, settings, size, expected = NAMES[name]
    torch.save({"state_dict": under("module.encoder_q", timm.create_model(name, num_classes=0))}, tmp_path / "file.pth")
    config = BackboneConfig(name=requested, checkpoint=tmp_path / "file.pth", **settings)
    message = load_error(lambda: create_backbone(config, in_chans=3, img_size=size))
    assert expected in message
    assert " missing: " in message or " of another shape: " in message


def test_file_with_another_stem(resnet: nn.Module, small_resnet: nn.Module, tmp_path: Path) -> None:
    save_file(resnet.state_dict(), tmp_path / "standard.safetensors")
    save_file(small_resnet.state_dict(), tmp_path / "small.safetensors")
    message = load_error(lambda: load_checkpoint(small_resnet, tmp_path / "standard.safetensors"))
    assert "1 of another shape: conv1.weight (64, 3, 7, 7) for (64, 3, 3, 3)" in message
    assert message.endswith("--backbone.stem standard")
    message = load_error(lambda: load_checkpoint(resnet, tmp_path / "small.safetensors"))
    assert message.endswith("--backbone.stem small, small-pool if it has a max-pool")


def test_missing_and_unexpected_tensors(resnet: nn.Module, tmp_path: Path) -> None:
    state = resnet.state_dict()
    torch.save({name: value for name, value in state.items() if name != "bn1.bias"}, tmp_path / "few.pth")
    assert "1 missing: bn1.bias" in load_error(lambda: load_checkpoint(resnet, tmp_path / "few.pth"))
    torch.save({**state, "layer5.weight": torch.ones(3)}, tmp_path / "many.pth")
    assert "1 unexpected: layer5.weight" in load_error(lambda: load_checkpoint(resnet, tmp_path / "many.pth"))


def test_nothing_is_loaded_from_a_file_that_does_not_fit(resnet: nn.Module, tmp_path: Path) -> None:
    before = resnet.conv1.weight.clone()
    torch.save({"conv1.weight": torch.zeros_like(before)}, tmp_path / "file.pth")
    load_error(lambda: load_checkpoint(resnet, tmp_path / "file.pth"))
    assert torch.equal(resnet.conv1.weight, before)


def test_file_with_another_number_of_channels(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(resnet.state_dict(), tmp_path / "file.pth")
    grayscale = timm.create_model("resnet18", num_classes=0, in_chans=1, channels=[8, 16, 24, 32])
    message = load_error(lambda: load_checkpoint(grayscale, tmp_path / "file.pth"))
    assert message.endswith("the file is for images with 3 channels, the data set has 1")


def test_file_for_another_image_size(vit: nn.Module, tmp_path: Path) -> None:
    torch.save(vit.state_dict(), tmp_path / "file.pth")
    larger = timm.create_model("test_vit", num_classes=0, img_size=64)
    message = load_error(lambda: load_checkpoint(larger, tmp_path / "file.pth"))
    assert message.endswith("the file's position embedding is for 2 x 2 patches: --img-size 32")


def test_several_encoders_of_an_unknown_project(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(under("left", resnet) | under("right", resnet), tmp_path / "file.pth")
    message = load_error(lambda: load_checkpoint(resnet, tmp_path / "file.pth"))
    assert "contains several encoders, left, right; choose one with --backbone.encoder" in message
    assert "(right)" in str(load_checkpoint(resnet, tmp_path / "file.pth", "right"))


def test_file_without_a_known_encoder(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"trunk.a.weight": torch.ones(2), "trunk.b.weight": torch.ones(2)}}, tmp_path / "file.pth"
    )
    message = load_error(lambda: load_checkpoint(resnet, tmp_path / "file.pth"))
    assert "contains no known encoder, but trunk.a (1), trunk.b (1)" in message
    assert "--backbone.encoder" in message


def test_missing_prefix_lists_the_available_ones(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": under("module.encoder_q", resnet) | under("module.encoder_k", resnet)}, tmp_path / "file.pth"
    )
    message = load_error(lambda: load_checkpoint(resnet, tmp_path / "file.pth", "encoder_r"))
    n = len(resnet.state_dict())
    assert message.startswith("--backbone.encoder encoder_r: ")
    assert message.endswith(f"has no such prefix; available: module.encoder_q ({n}), module.encoder_k ({n})")


def test_encoder_setting_needs_a_checkpoint() -> None:
    with pytest.raises(SettingError, match=r"encoder = module\.encoder_k: .* needs checkpoint"):
        BackboneConfig(encoder="module.encoder_k")


def test_vision_transformer_of_torchvision(vit: nn.Module, tmp_path: Path) -> None:
    from torchvision.models import VisionTransformer

    theirs = VisionTransformer(image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=64, mlp_dim=64)
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    message = load_error(lambda: load_checkpoint(vit, tmp_path / "file.pth"))
    assert "torchvision's vision transformers have other tensors than timm's and are not supported" in message


def test_number_of_attention_heads(tmp_path: Path) -> None:
    arguments = {"num_classes": 0, "img_size": 32, "depth": 1}
    theirs = timm.create_model("vit_small_patch16_224", num_heads=12, **arguments)
    theirs.pos_embed.data[:, 0] = 0
    torch.save(
        {"state_dict": under("module.base_encoder", theirs) | under("module.momentum_encoder", theirs)},
        tmp_path / "file.pth",
    )
    torch.save({"model": theirs.state_dict()}, tmp_path / "converted.pth")
    ours = timm.create_model("vit_small_patch16_224", **arguments)
    message = load_error(lambda: load_checkpoint(ours, tmp_path / "file.pth"))
    assert message.endswith("this one has 6: --backbone.kwargs '{num_heads: 12}'")
    assert "this one has 6" in str(load_checkpoint(ours, tmp_path / "converted.pth"))
    assert "heads" not in str(load_checkpoint(theirs, tmp_path / "file.pth"))
