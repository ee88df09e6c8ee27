"""Crop and resize a batch with a separate box and size for each image, as two matrix products per image."""

import math

import torch
from torch import Tensor


def resized_crop(pixels: Tensor, box: Tensor, flip: Tensor, size: int, interpolation: str) -> Tensor:
    """Crop the boxes and resize them to size x size; pixels outside of a box have no influence.

    Equals torchvision's `resized_crop` with antialiasing.

    Args:
        pixels: (B, C, H, W) uint8, or float32 in [0, 1].
        box: (B, 4) int64: top, left, height, width.
        flip: (B,) bool, whether to flip the result horizontally.

    Returns:
        (B, C, size, size) float32 in [0, 1].
    """
    top, left, height, width = box.float().unbind(1)
    row, column = _outputs(size, flip)
    rows = interpolation_weights(top, height, height / size, row, pixels.shape[2], interpolation)
    columns = interpolation_weights(left, width, width / size, column, pixels.shape[3], interpolation)
    return _resample(pixels, rows, columns)


def center_crop(pixels: Tensor, sizes: Tensor, flip: Tensor, size: int, interpolation: str, crop_pct: float) -> Tensor:
    """Resize the shorter side to size / crop_pct, rounded down as in timm, and crop the central size x size pixels.

    Equals torchvision's `resize` and `center_crop` with antialiasing.

    Args:
        sizes: (B, 2) int64: height and width.
        crop_pct: in (0, 1]; the other arguments are those of `resized_crop`.
    """
    height, width = sizes.unbind(1)
    shorter = torch.minimum(height, width)
    resized = math.floor(size / crop_pct)
    new_height, new_width = height * resized // shorter, width * resized // shorter
    row, column = _outputs(size, flip)
    row = row + ((new_height - size) / 2).round()[:, None]
    column = column + ((new_width - size) / 2).round()[:, None]
    start = torch.zeros_like(height)
    rows = interpolation_weights(start, height, height / new_height, row, pixels.shape[2], interpolation)
    columns = interpolation_weights(start, width, width / new_width, column, pixels.shape[3], interpolation)
    return _resample(pixels, rows, columns)


def crop_geometry(
    crop: str, size: int, crop_pct: float, box: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the boxes that the compiled kernels crop and how they resize them, each (B, 2) for rows and columns.

    Args:
        crop: `random` crops `box`, `squash` the whole image, `center` the center of the resized image.
        box: (B, 4) int64: top, left, height, width.
        sizes: (B, 2) int64: height and width.

    Returns:
        start and length of the box in pixels, int64; pixels of the box per pixel of the resized box, float32; and the
        first pixel of the resized box that belongs to the view, float32.
    """
    whole = torch.zeros_like(sizes)
    if crop == "center":
        resized = sizes * math.floor(size / crop_pct) // sizes.amin(dim=1, keepdim=True)
        return whole, sizes, sizes / resized, ((resized - size) / 2).round()
    start, length = (box[:, :2], box[:, 2:]) if crop == "random" else (whole, sizes)
    return start, length, length.float() / size, whole.float()


def interpolation_weights(
    start: Tensor, length: Tensor, scale: Tensor, outputs: Tensor, extent: int, interpolation: str
) -> Tensor:
    """Compute matrices (B, size, extent) of antialiased interpolation along one axis; their rows sum to 1.

    Output i of an image lies at (outputs[i] + 0.5) * scale, counted from the start of its box. The filter, a
    triangle or Keys' cubic with a = -0.5, is widened by the scale if images are downsampled, as in PIL and torch.

    Args:
        start: (B,) first pixel of the image's box, `length` (B,) the number of its pixels.
        scale: (B,) pixels of the box per pixel of the resized box.
        outputs: (B, size) or (size,) the pixels of the resized box that belong to the view.
        extent: number of pixels of the padded image.
    """
    pixels = torch.arange(extent, device=start.device) - start[:, None]
    inside = (pixels >= 0) & (pixels < length[:, None])
    centers = (outputs + 0.5) * scale[:, None]
    width = scale.clamp(min=1)[:, None]
    distance = (((pixels + 0.5) / width)[:, None] - (centers / width)[:, :, None]).abs_()
    kernel = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    kernel *= inside[:, None]
    return kernel.div_(kernel.sum(dim=2, keepdim=True))


def apply_separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply one linear map along the rows and another along the columns of each image, equally to all channels.

    Args:
        images: (B, C, H, W).
        rows: (B, I, H), weights of the image's rows in each row of the result.
        columns: (B, J, W), weights of the image's columns in each column of the result.

    Returns:
        (B, C, I, J).
    """
    return torch.einsum("bciw,bjw->bcij", torch.einsum("bih,bchw->bciw", rows, images), columns)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp_(min=0)


def _cubic(x: Tensor) -> Tensor:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _outputs(size: int, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of a view's rows (size,) and columns (B, size); flipped images have reversed columns."""
    row = torch.arange(size, device=flip.device)
    return row, torch.where(flip[:, None], row.flip(0), row)


def _resample(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    views = apply_separable(pixels.float(), rows, columns)
    if pixels.dtype == torch.uint8:
        views.div_(255)
    return views.clamp_(0, 1)  # the cubic filter overshoots
