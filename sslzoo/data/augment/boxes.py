"""Boxes of random and center crops."""

import math

import torch
from torch import Tensor


def sample_boxes(
    sizes: Tensor, tries: Tensor, position: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Sample boxes (B, 4) as torchvision's RandomResizedCrop does: the first try that fits into the image.

    Area, logarithm of the ratio, and position are uniform. If no try fits, the box is the largest centered one with
    an allowed ratio.

    Args:
        sizes: (B, 2) int64, height and width of each image.
        tries: (B, T, 2) uniform in [0, 1): area and ratio of each try.
        position: (B, 2) uniform in [0, 1): top and left.
        scale: smallest and largest area, as fractions of the image's.
        ratio: smallest and largest ratio of width to height.

    Returns:
        int64: top, left, height, width.
    """
    area = sizes.prod(dim=1, keepdim=True) * (scale[0] + tries[..., 0] * (scale[1] - scale[0]))
    log_ratio = math.log(ratio[0]) + tries[..., 1] * (math.log(ratio[1]) - math.log(ratio[0]))
    sides = (area[..., None] * torch.stack([-log_ratio, log_ratio], dim=2).exp()).sqrt().round()
    fits = ((sides > 0) & (sides <= sizes[:, None])).all(dim=2)
    first = fits.to(torch.uint8).argmax(dim=1)
    side = sides[torch.arange(len(sides), device=sides.device), first]
    corner = (position * (sizes - side + 1)).floor()
    box = torch.cat([corner, side], dim=1).long()
    return torch.where(fits.any(dim=1, keepdim=True), box, center_boxes(sizes, ratio))


def center_boxes(sizes: Tensor, ratio: tuple[float, float]) -> Tensor:
    """Compute the largest centered boxes (B, 4) whose ratio of width to height lies in `ratio`."""
    height, width = sizes.unbind(1)
    narrow, wide = ratio
    box_height = torch.minimum(height, (width / narrow).round().clamp(min=1))
    box_width = torch.minimum(width, (height * wide).round().clamp(min=1))
    side = torch.stack([box_height, box_width], dim=1).long()
    return torch.cat([(sizes - side) // 2, side], dim=1)
