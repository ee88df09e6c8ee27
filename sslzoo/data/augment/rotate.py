"""Rotation of batches, with a separate angle per image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(images: Tensor, angle: Tensor) -> Tensor:
    """Rotate square images about their middle; equals torchvision's bilinear `rotate`, what comes in is black.

    Args:
        images: (B, C, S, S).
        angle: (B,) degrees, counter-clockwise.
    """
    cosine, sine = torch.cos(angle.deg2rad()), torch.sin(angle.deg2rad())
    nothing = torch.zeros_like(angle)
    rows = [torch.stack([cosine, -sine, nothing], dim=1), torch.stack([sine, cosine, nothing], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
