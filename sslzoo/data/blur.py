"""Gaussian blur of batches, each picture with a width of its own."""

import torch
from torch import Tensor

from sslzoo.data.device import change
from sslzoo.data.resample import separable


def gaussian(pictures: Tensor, chosen: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Blur the chosen pictures, as two matrix products each; equals torchvision's `gaussian_blur`.

    Args:
        pictures: (B, C, S, S).
        chosen: (B,) bool.
        sigma: (B,) standard deviations in pixels.
        taps: odd length of the kernel, at most 2 S - 1.
    """

    def blur(sharp: Tensor, sigma: Tensor) -> Tensor:
        matrices = blur_matrices(sigma, taps, pictures.shape[-1])
        return separable(sharp, matrices, matrices)

    return change(pictures.clone(), chosen, blur, sigma)


def blur_matrices(sigma: Tensor, taps: int, size: int) -> Tensor:
    """Blur along one axis with reflection at the borders, as matrices (B, size, size)."""
    offsets = torch.arange(taps, device=sigma.device) - taps // 2
    kernel = (-0.5 * (offsets / sigma[:, None]) ** 2).exp()
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    reached = (torch.arange(size, device=sigma.device)[:, None] + offsets).abs()  # reflected at 0
    reached = (size - 1) - (size - 1 - reached).abs()  # and at the other end
    matrices = sigma.new_zeros(len(sigma), size, size)
    return matrices.scatter_add_(2, reached.expand(len(sigma), -1, -1), kernel[:, None].expand(-1, size, -1))
