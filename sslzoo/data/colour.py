"""Colour operations on batches (B, C, H, W) in [0, 1], each picture with factors of its own.

They equal `torchvision.transforms.v2.functional` on float pictures. With one channel, saturation, hue and grey
leave a picture as it is.
"""

import torch
from torch import Tensor


def jitter(pictures: Tensor, chosen: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of the chosen pictures, in each one's own order.

    Args:
        chosen: (B,) bool.
        order: (B, 4) int64, numbers of the operations.
        factors: (B, 4), factor of each operation (the turn of the hue for the last).
    """
    pictures = pictures.clone()
    for place in range(4):
        for number, adjust in enumerate((brightness, contrast, saturation, hue)):
            these = (chosen & (order[:, place] == number)).nonzero()[:, 0]
            if len(these):
                pictures[these] = adjust(pictures[these], factors[these, number].view(-1, 1, 1, 1))
    return pictures


def grey(pictures: Tensor) -> Tensor:
    """Luma of ITU-R 601 in all channels."""
    if pictures.shape[1] == 1:
        return pictures
    return _luma(pictures).expand_as(pictures)


def brightness(pictures: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return (pictures * factor).clamp(0, 1)


def contrast(pictures: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean luma of the picture."""
    return _blend(pictures, _luma(pictures).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(pictures: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma of each pixel."""
    return pictures if pictures.shape[1] == 1 else _blend(pictures, _luma(pictures), factor)


def hue(pictures: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue in HSV space by a share of the colour circle."""
    if pictures.shape[1] == 1:
        return pictures
    red, green, blue = torch.split(pictures, 1, dim=1)
    value = pictures.amax(dim=1, keepdim=True)
    chroma = value - pictures.amin(dim=1, keepdim=True)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    # each channel is the value less the chroma times a trapezoid of the hue, shifted by channel
    place = (sixth + 6 * turn + pictures.new_tensor([5.0, 3.0, 1.0]).view(3, 1, 1)) % 6
    return value - chroma * torch.minimum(place, 4 - place).clamp(0, 1)


def _luma(pictures: Tensor) -> Tensor:
    if pictures.shape[1] == 1:
        return pictures
    return (pictures * pictures.new_tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1, keepdim=True)


def _blend(pictures: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(base.expand_as(pictures), pictures, factor).clamp(0, 1)
