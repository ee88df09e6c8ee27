"""Random parameters of augmentations."""

import torch
from torch import Tensor

from sslzoo.data.augment.boxes import random_box
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.device import constant
from sslzoo.data.batch import ViewParameters
from sslzoo.runtime.counter_rng import uniform

TRIES = 10
"""Boxes that a random crop tries before it takes the middle of the picture, as torchvision does."""


def draw(recipe: Augmentation, sizes: Tensor, ids: Tensor, *, seed: int, epoch: int, view: int) -> ViewParameters:
    """Random parameters for the views of B pictures, distributed as torchvision's transforms draw them.

    A picture's parameters depend on (seed, epoch, id, view) alone, not on the batch that it is in.

    Args:
        sizes: (B, 2) int64, height and width of each picture.
        ids: (B,) int64, numbers of the pictures in their data set.
        view: which of a method's views it is.
    """
    u = uniform(seed, epoch, ids[:, None], view, torch.arange(17 + 2 * TRIES, device=ids.device))
    chances, factors, order, sigma, angle, place, tries = torch.split(u, [5, 4, 4, 1, 1, 2, 2 * TRIES], dim=1)
    probabilities = (recipe.flip, recipe.jitter, recipe.grey, recipe.blur, recipe.solarize)
    happens = (chances < constant(probabilities, u.device)).unbind(1)
    ranges = [(max(0.0, 1 - s), 1 + s) for s in (recipe.brightness, recipe.contrast, recipe.saturation)]
    low, high = constant((*ranges, (-recipe.hue, recipe.hue)), u.device).unbind(1)
    return ViewParameters(
        box=random_box(sizes, tries.reshape(-1, TRIES, 2), place, recipe.crop_scale, recipe.crop_ratio),
        flip=happens[0],
        jitter=happens[1],
        order=order.argsort(dim=1),
        factors=low + factors * (high - low),
        grey=happens[2],
        blur=happens[3],
        sigma=recipe.blur_sigma[0] + sigma[:, 0] * (recipe.blur_sigma[1] - recipe.blur_sigma[0]),
        solarize=happens[4],
        angle=recipe.rotate * (2 * angle[:, 0] - 1),
    )
