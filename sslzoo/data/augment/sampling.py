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


def sample_parameters(
    augmentation: Augmentation, sizes: Tensor, ids: Tensor, *, seed: int, epoch: int, view: int
) -> AugmentationParameters:
    """Sample the parameters of one view of B images, with the distributions of torchvision's transforms.

    An image's parameters depend on (seed, epoch, id, view) alone, not on the rest of the batch.

    Args:
        sizes: (B, 2) int64, height and width of each image.
        ids: (B,) int64, indices of the images in their data set.
        view: index of the view among those of the method.
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
    )
