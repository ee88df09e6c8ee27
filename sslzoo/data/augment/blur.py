"""Gaussian blur of a batch, with a separate standard deviation for each image."""

import torch
from torch import Tensor

from sslzoo.data.augment.device import apply_where
from sslzoo.data.augment.resample import apply_separable


def gaussian_blur(images: Tensor, chosen: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Blur the chosen images with two matrix products per image; equals torchvision's `gaussian_blur`.

    Args:
        images: (B, C, S, S).
        chosen: (B,) bool.
        sigma: (B,) standard deviations in pixels.
        taps: odd length of the filter, at most 2 S - 1.
    """

    def blur(sharp: Tensor, sigma: Tensor) -> Tensor:
        matrices = blur_matrices(sigma, taps, images.shape[-1])
        return apply_separable(sharp, matrices, matrices)

    return apply_where(images.clone(), chosen, blur, sigma)


def blur_matrices(sigma: Tensor, taps: int, size: int) -> Tensor:
    """Compute matrices (B, size, size) that blur along one axis, with reflection at the borders.

    Pixel j contributes to pixel i directly and through its reflections at -j and 2 (size - 1) - j.
    """
    position = torch.arange(size, device=sigma.device)
    row, column = position[:, None], position[None, :]
    distances = (
        (row - column, torch.ones_like(column, dtype=torch.bool)),
        (row + column, column > 0),
        (2 * (size - 1) - row - column, column < size - 1),
    )
    falloff = -0.5 / sigma[:, None, None].square()
    matrices = sigma.new_zeros(len(sigma), size, size)
    for distance, exists in distances:
        within = exists & (distance.abs() <= taps // 2)
        matrices = matrices + torch.where(within, (falloff * distance.square()).exp(), 0.0)
    return matrices / matrices.sum(dim=2, keepdim=True)
