"""Crop and resize of batches whose pictures have boxes and sizes of their own, as two matrix products a picture."""

import torch
from torch import Tensor


def resized_crop(pixels: Tensor, box: Tensor, flip: Tensor, size: int, interpolation: str) -> Tensor:
    """Cut out the boxes and resize them to size x size; what is outside of a box has no influence.

    Equals torchvision's `resized_crop` with antialiasing.

    Args:
        pixels: (B, C, H, W) uint8.
        box: (B, 4) int64: top, left, height, width.
        flip: (B,) bool, mirror the result.

    Returns:
        (B, C, size, size) float32 in [0, 1].
    """
    top, left, height, width = box.float().unbind(1)
    rows = weights(top, height, height / size, torch.zeros_like(top), size, pixels.shape[2], interpolation)
    columns = weights(left, width, width / size, torch.zeros_like(left), size, pixels.shape[3], interpolation)
    return _product(pixels, rows, columns, flip)


def center_crop(pixels: Tensor, sizes: Tensor, flip: Tensor, size: int, interpolation: str, crop_pct: float) -> Tensor:
    """Resize so that the shorter side is size / crop_pct, and cut size x size out of the middle.

    Equals torchvision's `resize` and `center_crop` with antialiasing.

    Args:
        sizes: (B, 2) int64: height and width.
        crop_pct: in (0, 1]; the other arguments are those of `resized_crop`.
    """
    height, width = sizes.unbind(1)
    shorter = torch.minimum(height, width)
    resized = round(size / crop_pct)
    new_height, new_width = height * resized // shorter, width * resized // shorter
    first_row = torch.round((new_height - size) / 2)
    first_column = torch.round((new_width - size) / 2)
    start = torch.zeros_like(first_row)
    rows = weights(start, height, height / new_height, first_row, size, pixels.shape[2], interpolation)
    columns = weights(start, width, width / new_width, first_column, size, pixels.shape[3], interpolation)
    return _product(pixels, rows, columns, flip)


def weights(
    start: Tensor, length: Tensor, scale: Tensor, first: Tensor, size: int, extent: int, interpolation: str
) -> Tensor:
    """Antialiased interpolation along one axis, as matrices (B, size, extent) whose rows sum to 1.

    Output i of a picture lies at start + (first + i + 0.5) * scale. The filter, a triangle or Keys' cubic with
    a = -0.5, is widened by the scale where pictures shrink, as PIL and torch do.

    Args:
        start: (B,) first pixel of the picture's box, `length` (B,) the number of its pixels.
        scale: (B,) pixels of the box for each pixel of the resized box.
        first: (B,) pixel of the resized box that output 0 is.
        extent: number of pixels of the padded picture.
    """
    device = start.device
    outputs = torch.arange(size, device=device, dtype=torch.float32)
    pixels = torch.arange(extent, device=device, dtype=torch.float32)
    centers = start[:, None] + (first[:, None] + outputs + 0.5) * scale[:, None]
    widening = scale.clamp(min=1)[:, None, None]
    distance = ((pixels + 0.5 - centers[:, :, None]) / widening).abs()
    kernel = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    inside = (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
    kernel = kernel * inside[:, None]
    return kernel / kernel.sum(dim=2, keepdim=True)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _product(pixels: Tensor, rows: Tensor, columns: Tensor, flip: Tensor) -> Tensor:
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    resized = rows[:, None] @ (pixels.float() / 255) @ columns.transpose(1, 2)[:, None]
    return resized.clamp(0, 1)  # a cubic overshoots
