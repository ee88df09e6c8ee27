"""Fused forms of parts of timm's ResNets compute the same as the parts."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from sslzoo.modules.batch_norm import split_batch_norm
from sslzoo.modules.fuse import FusedBasicBlock, FusedBottleneck, SmallStem, StridedPointwise, fuse


def create_pair(name: str, splits: int = 2, **options: object) -> tuple[nn.Module, nn.Module]:
    """Create a ResNet with split batch norm, and its fused copy."""
    torch.manual_seed(0)
    plain = split_batch_norm(timm.create_model(name, num_classes=0, zero_init_last=False, **options), splits)
    return plain, fuse(copy.deepcopy(plain))


def compute(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Compute output, gradients, output in evaluation, and state."""
    out = model.train()(x)
    out.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return [out, *gradients, model.eval()(x), *model.state_dict().values()]


@pytest.mark.parametrize(("name", "block"), [("resnet18", FusedBasicBlock), ("resnet50", FusedBottleneck)])
def test_fused_resnets_compute_the_same(name: str, block: type[nn.Module]) -> None:
    plain, fused = create_pair(name)
    x = torch.randn(8, 3, 32, 32)
    assert sum(isinstance(module, block) for module in fused.modules()) == len(
        [module for stage in ("layer1", "layer2", "layer3", "layer4") for module in getattr(plain, stage)]
    )
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(compute(plain, x), compute(fused, x), strict=True))


def test_blocks_with_further_operations_keep_their_forward_pass() -> None:
    plain, fused = create_pair("resnet18", block_args={"attn_layer": "se"})
    x = torch.randn(8, 3, 32, 32)
    assert not any(isinstance(module, FusedBasicBlock) for module in fused.modules())
    assert isinstance(fused.layer1[0].bn1.act, nn.ReLU)
    assert all(torch.equal(one, other) for one, other in zip(compute(plain, x), compute(fused, x), strict=True))


def test_norms_that_are_not_replaced_are_not_fused() -> None:
    model = fuse(timm.create_model("resnet18", num_classes=0))
    assert not any(isinstance(module, FusedBasicBlock) for module in model.modules())
    assert isinstance(model.act1, nn.ReLU)


def test_fusing_uses_no_random_numbers() -> None:
    plain, _ = create_pair("resnet18")
    before = torch.get_rng_state()
    fuse(plain)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("conv", "form"),
    [
        (nn.Conv2d(64, 6, 1, stride=2, bias=False), StridedPointwise),
        (nn.Conv2d(3, 6, 3, padding=1, bias=False), SmallStem),
    ],
)
@pytest.mark.parametrize("side", [7, 8])
def test_padded_convolutions_compute_the_same(conv: nn.Conv2d, form: type[nn.Module], side: int) -> None:
    torch.manual_seed(0)
    conv = conv.double()
    fused = fuse(nn.Sequential(copy.deepcopy(conv)))[0]
    assert type(fused) is form
    results = []
    for module, forward in ((conv, conv.forward), (fused, fused.forward_padded), (fused, fused.forward)):
        module.zero_grad()
        x = torch.randn(
            3, conv.in_channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
        out = forward(x.requires_grad_())
        out.square().sum().backward()
        results.append([out, x.grad, module.weight.grad])
    torch.testing.assert_close(results[1], results[0])
    assert all(torch.equal(one, other) for one, other in zip(results[2], results[0], strict=True))


def test_padded_convolutions_use_the_dtype_of_autocast() -> None:
    x = torch.randn(2, 64, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for conv in (nn.Conv2d(64, 6, 1, stride=2, bias=False), nn.Conv2d(3, 6, 3, padding=1, bias=False)):
            fused = fuse(nn.Sequential(conv))[0]
            assert fused.forward_padded(x[:, : conv.in_channels]).dtype == torch.bfloat16


def test_other_convolutions_are_not_replaced() -> None:
    others = nn.Sequential(
        nn.Conv2d(128, 6, 1, stride=2, bias=False),
        nn.Conv2d(64, 6, 1, stride=2, bias=False, groups=2),
        nn.Conv2d(64, 6, 1, bias=False),
        nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(3, 6, 7, padding=3, bias=False),
    )
    assert all(type(conv) is nn.Conv2d for conv in fuse(others))
