"""Faster forms of parts of a backbone, with the same weights and results up to rounding."""

from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.modules.batch_norm import SplitBatchNorm2d


class FusedBasicBlock(BasicBlock):  # type: ignore[misc]
    """Block whose norms compute what follows them: the first one ReLU, the last one residual sum and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x))), shortcut)
        return out


class FusedBottleneck(Bottleneck):  # type: ignore[misc]
    """Block whose norms compute what follows them: ReLU, and in the last one residual sum and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        out: Tensor = self.bn3(self.conv3(x), shortcut)
        return out


class StridedPointwise(nn.Conv2d):
    """Convolution with one pixel and a stride; on a GPU in half precision the forward pass pads the kernel to 3 x 3.

    cuDNN has a fast kernel for the padded form, but converts the memory format for the other: from 64 channels at 32
    pixels to 128, batch 512, in bf16 on an H200 it takes 195 us instead of 44.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        return self.forward_padded(x) if runs_in_half_precision_on_gpu(x) else super().forward(x)

    def forward_padded(self, x: Tensor) -> Tensor:
        """Compute the same with a padded kernel."""
        x, weight = cast_for_autocast(x, self.weight)
        out: Tensor = _PaddedPointwise.apply(x, weight, self.stride)
        return out


class _PaddedPointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, F.pad(weight, (1, 1, 1, 1)), stride=stride, padding=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needed = [*ctx.needs_input_grad[:2], False]
        dx, dweight, _ = torch.ops.aten.convolution_backward(
            gradients[0], x, weight, None, ctx.stride, [0, 0], [1, 1], False, [0, 0], 1, needed
        )  # fmt: skip
        return dx, dweight, None


class SmallStem(nn.Conv2d):
    """Convolution of images with few channels; on a GPU in half precision it adds channels of zeros.

    cuDNN has faster kernels for more channels: from 3 channels at 32 pixels to 64, batch 512, in bf16 on an H200
    forward and backward pass take 362 us, and 224 us with 32 channels.
    """

    CHANNELS = 32

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return self.forward_padded(x) if runs_in_half_precision_on_gpu(x) else super().forward(x)

    def forward_padded(self, x: Tensor) -> Tensor:
        """Compute the same with additional channels."""
        x, weight = (
            F.pad(part, (0, 0, 0, 0, 0, self.CHANNELS - self.in_channels)) for part in cast_for_autocast(x, self.weight)
        )
        return F.conv2d(x, weight, self.bias, padding=self.padding)


def runs_in_half_precision_on_gpu(x: Tensor) -> bool:
    """Whether a convolution of this input runs on a GPU with 16 bits."""
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    return x.is_cuda and dtype.itemsize == 2


def cast_for_autocast(*tensors: Tensor) -> list[Tensor]:
    """Cast tensors as autocast does for a convolution."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]


BLOCKS: dict[type[nn.Module], tuple[type[nn.Module], int]] = {
    BasicBlock: (FusedBasicBlock, 2),
    Bottleneck: (FusedBottleneck, 3),
}
"""Fused form of each block, and the number of its norms."""


def fuse(model: nn.Module) -> nn.Module:
    """Replace parts of timm's ResNets by faster forms, where nothing else is between the fused modules.

    Modules become instances of a subclass with the same parameters and buffers, so names of weights do not change.
    """
    for module in model.modules():
        if type(module) in BLOCKS:
            fuse_block(module, *BLOCKS[type(module)])
        elif isinstance(module, ResNet):
            absorb_relu(module, 1)
        elif type(module) is nn.Conv2d:
            module.__class__ = choose_convolution(module)
    return model


def fuse_block(block: nn.Module, fused: type[nn.Module], norms: int) -> None:
    """Fuse a residual block, or only its first norms with their ReLUs if it contains further operations."""
    absorbed = [absorb_relu(block, number) for number in range(1, norms)]
    further = [block.se, block.drop_path, None if isinstance(block.aa, nn.Identity) else block.aa]
    if all(absorbed) and not any(further) and absorb_relu(block, norms):
        block.__class__ = fused


def absorb_relu(module: nn.Module, number: int) -> bool:
    """Move ReLU `act*` into norm `bn*` with this number, and return whether that is possible."""
    norm, act = getattr(module, f"bn{number}"), getattr(module, f"act{number}")
    between = getattr(module, "drop_block", nn.Identity())
    if not (isinstance(norm, SplitBatchNorm2d) and isinstance(act, nn.ReLU) and isinstance(between, nn.Identity)):
        return False
    norm.act = act
    setattr(module, f"act{number}", nn.Identity())
    return True


def choose_convolution(conv: nn.Conv2d) -> type[nn.Conv2d]:
    """Choose the form of a convolution among those that were measured to be faster."""
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros" and conv.bias is None
    window = conv.kernel_size, conv.stride, conv.padding
    if plain and window == ((1, 1), (2, 2), (0, 0)) and conv.in_channels == 64:
        return StridedPointwise
    if plain and window == ((3, 3), (1, 1), (1, 1)) and conv.in_channels <= 4:
        return SmallStem
    return nn.Conv2d
