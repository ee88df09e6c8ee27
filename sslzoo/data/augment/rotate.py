"""Rotation of a batch, with a separate angle for each image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(images: Tensor, angle: Tensor) -> Tensor:
    """Rotate square images about their center; equals torchvision's bilinear `rotate` with black corners.

    Args:
        images: (B, C, S, S).
        angle: (B,) degrees, counter-clockwise.
    """
    cosine, sine = torch.cos(angle.deg2rad()), torch.sin(angle.deg2rad())
    zero = torch.zeros_like(angle)
    rows = [torch.stack([cosine, -sine, zero], dim=1), torch.stack([sine, cosine, zero], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
