"""Random parameters of augmentations."""

import torch
from torch import Tensor

from sslzoo.data.augment.boxes import random_box
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.device import device_constant
from sslzoo.data.batch import AugmentationParameters
from sslzoo.runtime.counter_rng import uniform

TRIES = 10
"""Boxes that a random crop tries before it takes the middle of the image, as torchvision does."""


def sample_parameters(
    augmentation: Augmentation, sizes: Tensor, ids: Tensor, *, seed: int, epoch: int, view: int
) -> AugmentationParameters:
    """Random parameters for the views of B images, distributed as torchvision's transforms draw them.

    An image's parameters depend on (seed, epoch, id, view) alone, not on the batch that it is in.

    Args:
        sizes: (B, 2) int64, height and width of each image.
        ids: (B,) int64, numbers of the images in their data set.
        view: which of a method's views it is.
    """
    u = uniform(seed, epoch, ids[:, None], view, torch.arange(17 + 2 * TRIES, device=ids.device))
    chances, factors, order, sigma, angle, place, tries = torch.split(u, [5, 4, 4, 1, 1, 2, 2 * TRIES], dim=1)
    probabilities = (
        augmentation.flip,
        augmentation.jitter,
        augmentation.grayscale,
        augmentation.blur,
        augmentation.solarize,
    )
    happens = (chances < device_constant(probabilities, u.device)).unbind(1)
    ranges = [
        (max(0.0, 1 - s), 1 + s) for s in (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    ]
    low, high = device_constant((*ranges, (-augmentation.hue, augmentation.hue)), u.device).unbind(1)
    return AugmentationParameters(
        box=random_box(sizes, tries.reshape(-1, TRIES, 2), place, augmentation.crop_scale, augmentation.crop_ratio),
        flip=happens[0],
        jitter=happens[1],
        order=order.argsort(dim=1),
        factors=low + factors * (high - low),
        grayscale=happens[2],
        blur=happens[3],
        sigma=augmentation.blur_sigma[0] + sigma[:, 0] * (augmentation.blur_sigma[1] - augmentation.blur_sigma[0]),
        solarize=happens[4],
        angle=augmentation.rotate * (2 * angle[:, 0] - 1),
    )
