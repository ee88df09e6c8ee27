"""Color operations on batches (B, C, H, W) in [0, 1] of 1 or 3 channels, with separate factors (B,) for each image.

They equal `torchvision.transforms.v2.functional` on float images. Saturation, hue and grayscale do not change images
of one channel.
"""

import torch
from torch import Tensor

from sslzoo.data.augment.device import apply_where, device_constant

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Indices of the jitter's operations."""

_TRAPEZOIDS = ((3.0, 2.0, 4.0), (1.0, -1.0, -1.0), (-1.0, 2.0, 2.0))


def jitter(images: Tensor, chosen: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Adjust brightness, contrast, saturation and hue of the chosen images, in a separate order for each image.

    Brightness blends an image with black, contrast with its mean luma, saturation with the luma of each pixel.

    Args:
        chosen: (B,) bool.
        order: (B, 4) int64, indices of the operations, first to last.
        factors: (B, 4), factor of each operation; the last is the hue shift.
    """
    # Blends run on all images, with a factor of 1 where they do not apply; the costly hue runs on chosen images only.
    for operation in order.unbind(1):
        factor = factors.gather(1, operation[:, None])[:, 0]
        luma = _luma(images)
        base = _per_image(operation == SATURATION) * luma
        base += _per_image(operation == CONTRAST) * luma.mean(dim=(1, 2, 3), keepdim=True)
        images = _blend(images, base, torch.where(chosen & (operation != HUE), factor, 1.0))
        images = apply_where(images, chosen & (operation == HUE), hue, factor)
    return images


def scale_channels(images: Tensor, chosen: Tensor, factors: Tensor) -> Tensor:
    """Multiply each channel of the chosen images by a factor of its own.

    Args:
        images: (B, C, H, W) of any channels.
        chosen: (B,) bool.
        factors: (B, C).
    """
    return (images * torch.where(chosen[:, None], factors, 1.0)[:, :, None, None]).clamp_(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma of each pixel; a factor of 0 gives grayscale."""
    return _blend(images, _luma(images), factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue in HSV space by a fraction of the color circle."""
    if images.shape[1] == 1:
        return images
    red, green, blue = torch.split(images, 1, dim=1)
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    # hue in sixths of the circle, times chroma; on a CPU, lerp by 0 or 1 is several times as fast as `where`
    sixths = torch.lerp(red - green + 4 * chroma, blue - red + 2 * chroma, (value == green).float())
    sixths = torch.lerp(sixths, green - blue, (value == red).float())
    shifted = (sixths / chroma.clamp(min=1e-12) + 6 * _per_image(shift)) % 6
    # height of each channel above the smallest one, as a fraction of the chroma: trapezoids of the hue
    center, slope, height = device_constant(_TRAPEZOIDS, images.device).view(3, 3, 1, 1).unbind(0)
    share = (shifted - center).abs_().mul_(slope).add_(height).clamp_(0, 1)
    return share.sub_(1).mul_(chroma).add_(value)


def solarize(images: Tensor, chosen: Tensor, threshold: float) -> Tensor:
    """Invert the values from a threshold on in the chosen images.

    Args:
        chosen: (B,) bool.
    """
    return torch.where(_per_image(chosen) & (images >= threshold), 1 - images, images)


def _luma(images: Tensor) -> Tensor:
    """Compute the weighted mean of the channels (B, 1, H, W), with the weights of ITU-R BT.601."""
    if images.shape[1] == 1:
        return images
    red, green, blue = torch.split(images, 1, dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _blend(images: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(base.expand_as(images), images, _per_image(factor)).clamp_(0, 1)


def _per_image(values: Tensor) -> Tensor:
    """Reshape one value per image, (B,), to (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
