"""Color operations on batches (B, C, H, W) in [0, 1], with separate factors per image.

They equal `torchvision.transforms.v2.functional` on float images. With one channel, saturation, hue and grayscale
leave an image as it is. A factor is a tensor (B,).
"""

import torch
from torch import Tensor

from sslzoo.data.augment.device import apply_where, device_constant

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Numbers of the jitter's operations."""

_TRAPEZOIDS = ((3.0, 2.0, 4.0), (1.0, -1.0, -1.0), (-1.0, 2.0, 2.0))


def jitter(images: Tensor, chosen: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of the chosen images, in each one's own order.

    The first three blend an image with a base: with black, with its mean luma, with the luma of each pixel.

    Args:
        chosen: (B,) bool.
        order: (B, 4) int64, numbers of the operations, first to last.
        factors: (B, 4), factor of each operation (the turn of the hue for the last).
    """
    # The blends run on all images, with a factor of 1 where not wanted; the hue, which costs more, on its own ones.
    for operation in order.unbind(1):
        factor = factors.gather(1, operation[:, None])[:, 0]
        luma = _luma(images)
        base = _each(operation == SATURATION) * luma
        base += _each(operation == CONTRAST) * luma.mean(dim=(1, 2, 3), keepdim=True)
        images = _blend(images, base, torch.where(chosen & (operation != HUE), factor, 1.0))
        images = apply_where(images, chosen & (operation == HUE), hue, factor)
    return images


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma of each pixel; a factor of 0 is grayscale."""
    return _blend(images, _luma(images), factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue in HSV space by a share of the color circle."""
    if images.shape[1] == 1:
        return images
    red, green, blue = torch.split(images, 1, dim=1)
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    # the hue in sixths of the circle, times the chroma; lerp by 0 or 1 is a `where` several times as fast on a CPU
    sixths = torch.lerp(red - green + 4 * chroma, blue - red + 2 * chroma, (value == green).float())
    sixths = torch.lerp(sixths, green - blue, (value == red).float())
    turned = (sixths / chroma.clamp(min=1e-12) + 6 * _each(turn)) % 6
    # how far each channel is above the smallest one, as a share of the chroma: trapezoids of the hue
    center, slope, height = device_constant(_TRAPEZOIDS, images.device).view(3, 3, 1, 1).unbind(0)
    share = (turned - center).abs_().mul_(slope).add_(height).clamp_(0, 1)
    return share.sub_(1).mul_(chroma).add_(value)


def _luma(images: Tensor) -> Tensor:
    """Weighted mean of the channels (B, 1, H, W), with the weights of ITU-R BT.601."""
    if images.shape[1] == 1:
        return images
    red, green, blue = torch.split(images, 1, dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _blend(images: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(base.expand_as(images), images, _each(factor)).clamp_(0, 1)


def _each(numbers: Tensor) -> Tensor:
    """One number an image, (B,), as (B, 1, 1, 1)."""
    return numbers.view(-1, 1, 1, 1)
