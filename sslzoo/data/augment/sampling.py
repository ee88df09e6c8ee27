"""Sampling of augmentation parameters."""

import torch
from torch import Tensor

from sslzoo.data.augment.boxes import sample_boxes
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.device import device_constant
from sslzoo.data.batch import AugmentationParameters
from sslzoo.runtime.counter_rng import uniform

TRIES = 10
"""Boxes that a random crop tries before it falls back to a center crop, as in torchvision."""
FIRST_CHANNEL = 64
"""Number of the draw for the brightness of the first channel; those of the other parameters are below."""


def sample_parameters(
    augmentation: Augmentation, sizes: Tensor, ids: Tensor, *, seed: int, epoch: int, view: int, channels: int = 3
) -> AugmentationParameters:
    """Sample the parameters of one view of B images, with the distributions of torchvision's transforms.

    An image's parameters depend on (seed, epoch, id, view) alone, not on the rest of the batch.

    Args:
        sizes: (B, 2) int64, height and width of each image.
        ids: (B,) int64, indices of the images in their data set.
        view: index of the view among those of the method.
        channels: of the images.
    """
    u = uniform(seed, epoch, ids[:, None], view, torch.arange(17 + 2 * TRIES, device=ids.device))
    chances, factors, order, sigma, angle, position, tries = torch.split(u, [5, 4, 4, 1, 1, 2, 2 * TRIES], dim=1)
    probabilities = (
        augmentation.flip,
        augmentation.jitter,
        augmentation.grayscale,
        augmentation.blur,
        augmentation.solarize,
    )
    applied = (chances < device_constant(probabilities, u.device)).unbind(1)
    ranges = [
        (max(0.0, 1 - s), 1 + s) for s in (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    ]
    low, high = device_constant((*ranges, (-augmentation.hue, augmentation.hue)), u.device).unbind(1)
    return AugmentationParameters(
        box=sample_boxes(
            sizes, tries.reshape(-1, TRIES, 2), position, augmentation.crop_scale, augmentation.crop_ratio
        ),
        flip=applied[0],
        jitter=applied[1],
        order=order.argsort(dim=1),
        factors=low + factors * (high - low),
        grayscale=applied[2],
        blur=applied[3],
        sigma=augmentation.blur_sigma[0] + sigma[:, 0] * (augmentation.blur_sigma[1] - augmentation.blur_sigma[0]),
        solarize=applied[4],
        angle=augmentation.rotate * (2 * angle[:, 0] - 1),
        brightness=_sample_brightness(ids, ranges[0], 0 if channels in (1, 3) else channels, seed, epoch, view),
    )


def _sample_brightness(
    ids: Tensor, factors: tuple[float, float], channels: int, seed: int, epoch: int, view: int
) -> Tensor:
    """Sample a factor for each channel (B, C)."""
    numbers = FIRST_CHANNEL + torch.arange(channels, device=ids.device)
    low, high = factors
    return low + uniform(seed, epoch, ids[:, None], view, numbers) * (high - low)
