"""Colour operations on batches (B, C, H, W) in [0, 1], each picture with factors of its own.

They equal `torchvision.transforms.v2.functional` on float pictures. With one channel, saturation, hue and grey
leave a picture as it is. A factor is a tensor (B,).
"""

import torch
from torch import Tensor

from sslzoo.data.augment.device import change, constant

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Numbers of the jitter's operations."""

_TRAPEZOIDS = ((3.0, 2.0, 4.0), (1.0, -1.0, -1.0), (-1.0, 2.0, 2.0))


def jitter(pictures: Tensor, chosen: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of the chosen pictures, in each one's own order.

    The first three blend a picture with a base: with black, with its mean luma, with the luma of each pixel.

    Args:
        chosen: (B,) bool.
        order: (B, 4) int64, numbers of the operations, first to last.
        factors: (B, 4), factor of each operation (the turn of the hue for the last).
    """
    # The blends run on all pictures, with a factor of 1 where not wanted; the hue, which costs more, on its own ones.
    for operation in order.unbind(1):
        factor = factors.gather(1, operation[:, None])[:, 0]
        luma = _luma(pictures)
        base = _each(operation == SATURATION) * luma
        base += _each(operation == CONTRAST) * luma.mean(dim=(1, 2, 3), keepdim=True)
        pictures = _blend(pictures, base, torch.where(chosen & (operation != HUE), factor, 1.0))
        pictures = change(pictures, chosen & (operation == HUE), hue, factor)
    return pictures


def saturation(pictures: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma of each pixel; a factor of 0 is grey."""
    return _blend(pictures, _luma(pictures), factor)


def hue(pictures: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue in HSV space by a share of the colour circle."""
    if pictures.shape[1] == 1:
        return pictures
    red, green, blue = torch.split(pictures, 1, dim=1)
    value = pictures.amax(dim=1, keepdim=True)
    chroma = value - pictures.amin(dim=1, keepdim=True)
    # the hue in sixths of the circle, times the chroma; lerp by 0 or 1 is a `where` several times as fast on a CPU
    sixths = torch.lerp(red - green + 4 * chroma, blue - red + 2 * chroma, (value == green).float())
    sixths = torch.lerp(sixths, green - blue, (value == red).float())
    turned = (sixths / chroma.clamp(min=1e-12) + 6 * _each(turn)) % 6
    # how far each channel is above the smallest one, as a share of the chroma: trapezoids of the hue
    center, slope, height = constant(_TRAPEZOIDS, pictures.device).view(3, 3, 1, 1).unbind(0)
    share = (turned - center).abs_().mul_(slope).add_(height).clamp_(0, 1)
    return share.sub_(1).mul_(chroma).add_(value)


def _luma(pictures: Tensor) -> Tensor:
    """Weighted mean of the channels (B, 1, H, W), with the weights of ITU-R BT.601."""
    if pictures.shape[1] == 1:
        return pictures
    red, green, blue = torch.split(pictures, 1, dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _blend(pictures: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(base.expand_as(pictures), pictures, _each(factor)).clamp_(0, 1)


def _each(numbers: Tensor) -> Tensor:
    """One number a picture, (B,), as (B, 1, 1, 1)."""
    return numbers.view(-1, 1, 1, 1)
