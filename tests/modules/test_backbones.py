"""Backbones by their names in timm: features, stems and errors."""

import pytest
import torch
from torch import nn

from sslzoo.modules.backbones import (
    BackboneConfig,
    create_backbone,
    feature_width,
    preferred_memory_format,
    resolve_name,
)
from sslzoo.runtime.errors import UserError


@pytest.mark.parametrize(
    ("name", "size"), [("resnet10t", 16), ("test_vit", 32), ("test_convnext", 64), ("mobilenetv3_small_050", 32)]
)
def test_backbone_returns_one_feature_vector_per_image(name: str, size: int) -> None:
    backbone = create_backbone(BackboneConfig(name=name), in_chans=1, img_size=size)
    assert backbone(torch.randn(2, 1, size, size)).shape == (2, feature_width(backbone))


@pytest.mark.parametrize(
    ("stem", "size", "expected"),
    [
        ("auto", 32, "resnet18_cifar"),
        ("auto", 64, "resnet18_cifar_pool"),
        ("auto", 96, "resnet18"),
        ("standard", 32, "resnet18"),
        ("small", 224, "resnet18_cifar"),
        ("small-pool", 32, "resnet18_cifar_pool"),
    ],
)
def test_stem_determines_the_model_name(stem: str, size: int, expected: str) -> None:
    assert resolve_name(BackboneConfig(name="resnet18", stem=stem), size) == expected


def test_auto_stem_keeps_other_families_and_pretrained_weights() -> None:
    assert resolve_name(BackboneConfig(name="vit_small_patch16_224"), 32) == "vit_small_patch16_224"
    assert resolve_name(BackboneConfig(name="resnet18", pretrained=True), 32) == "resnet18"


@pytest.mark.parametrize(("stem", "side"), [("small", 4), ("small-pool", 2), ("standard", 1)])
def test_stem_determines_the_size_of_the_last_feature_map(stem: str, side: int) -> None:
    config = BackboneConfig(name="resnet18", stem=stem, kwargs={"channels": [8, 8, 8, 8]})
    backbone = create_backbone(config, in_chans=3, img_size=32)
    assert backbone.eval().forward_features(torch.randn(1, 3, 32, 32)).shape == (1, 8, side, side)
    if stem != "standard":
        assert (backbone.conv1.kernel_size, backbone.conv1.stride, backbone.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(backbone.maxpool, nn.Identity) == (stem == "small")


@pytest.mark.parametrize(
    ("name", "size", "convolutional"),
    [
        ("resnet10t", 16, True),
        ("test_convnext", 64, True),
        ("mobilenetv3_small_050", 32, True),
        ("test_vit", 32, False),
    ],
)
def test_convolutional_networks_use_channels_last(name: str, size: int, convolutional: bool) -> None:
    backbone = create_backbone(BackboneConfig(name=name), in_chans=3, img_size=size).eval()
    expected = torch.channels_last if convolutional else torch.contiguous_format
    assert preferred_memory_format(backbone) == expected
    computed = []
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=expected)
            module.register_forward_hook(lambda *call: computed.append(call[2]))
    images = torch.randn(2, 3, size, size)
    features = backbone(images)  # in any memory format of the images
    assert computed
    assert all(output.is_contiguous(memory_format=expected) for output in computed)
    torch.testing.assert_close(
        backbone.to(memory_format=torch.contiguous_format)(images), features, atol=1e-5, rtol=1e-4
    )


INVALID = {
    "resnet50.a1_in1": ({}, 224, "resnet50.a1_in1: timm has no such weights; did you mean resnet50.a1_in1k"),
    "resnt18": ({}, 32, "timm .* has no such model; did you mean resnet18"),
    "test_vit": ({"stem": "small"}, 32, "--backbone.stem small: test_vit has no such stem, only the ResNet families"),
    "resnet18": ({"stem": "small", "pretrained": True}, 32, "weights of resnet18 are for the standard stem"),
    "resnet10t": ({"kwargs": {"depth": 3}}, 32, "unexpected keyword argument 'depth'"),
    "test_convnext": ({}, 8, "does not accept 8 x 8 images"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_settings_are_one_line_errors(name: str) -> None:
    settings, size, message = INVALID[name]
    with pytest.raises(UserError, match=message) as error:
        create_backbone(BackboneConfig(name=name, **settings), in_chans=3, img_size=size)
    assert "\n" not in str(error.value)
