"""A small ResNet and a small vision transformer, whose weights the tests write in the layouts of other projects."""

import pytest
import timm
import torch
from torch import nn

import sslzoo.modules.backbones  # noqa: F401  (registers the small ResNets)

RESNET = {"num_classes": 0, "channels": [8, 16, 24, 32]}
VIT = {"num_classes": 0, "img_size": 32}


def randomize(model: nn.Module, size: int = 32) -> nn.Module:
    """Randomize all parameters and update the batch norm statistics, so that no two tensors are equal."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    model.train()(torch.randn(8, 3, size, size))
    return model.eval()


@pytest.fixture
def resnet() -> nn.Module:
    return randomize(timm.create_model("resnet18", **RESNET))


@pytest.fixture
def small_resnet() -> nn.Module:
    return randomize(timm.create_model("resnet18_cifar", **RESNET))


@pytest.fixture
def vit() -> nn.Module:
    return randomize(timm.create_model("test_vit", **VIT))
