"""Images stored on the training device, so that a step copies nothing from the host."""

from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor

from sslzoo.data.batch import AugmentationParameters, Batch
from sslzoo.data.images import Images, Indices

LARGEST_SHARE = 0.25
"""Largest fraction of the free device memory that a data set may use."""
SAMPLED_AT_ONCE = 1 << 16
"""Images whose augmentation parameters are sampled at once, which takes a few hundred small kernels."""

Sampler = Callable[[Tensor, Tensor], tuple[AugmentationParameters, ...]]
"""Maps sizes (N, 2) and ids (N,) to the parameters of each view."""


class ResidentImages:
    """The images of a split on one device.

    Args:
        pixels: (N, C, H, W).
        images: the split that contains them.
    """

    def __init__(self, pixels: Tensor, images: Images) -> None:
        device = pixels.device
        labels = torch.full((len(pixels),), -1) if images.labels is None else torch.from_numpy(images.labels)
        self.pixels, self.labels = pixels, labels.to(device)
        self.ids = torch.from_numpy(images.ids).to(device)
        self.sizes = torch.tensor(pixels.shape[2:], device=device).expand(len(pixels), 2)

    @classmethod
    def load(cls, images: Images, device: torch.device) -> Self | None:
        """Copy the images to a device; return None if they are not decoded, differ in size, or are too large."""
        stacked = images.stacked()
        if stacked is None or stacked.nbytes > LARGEST_SHARE * torch.cuda.mem_get_info(device)[0]:
            return None
        return cls(torch.tensor(stacked).to(device), images)

    def batches(self, shares: Indices, sample: Sampler) -> Iterator[Batch]:
        """Iterate over the batches of an epoch, with their augmentation parameters.

        Args:
            shares: (steps, B) positions of the images of each batch.
        """
        size = shares.shape[1]
        steps = max(1, SAMPLED_AT_ONCE // size)
        for first in range(0, len(shares), steps):
            positions = torch.from_numpy(shares[first : first + steps]).to(self.pixels.device)
            everything = positions.flatten()
            sizes, ids, labels = self.sizes[everything], self.ids[everything], self.labels[everything]
            views = sample(sizes, ids)
            for number, batch in enumerate(positions):
                rows = slice(number * size, (number + 1) * size)
                yield Batch(
                    self.pixels[batch],
                    sizes[rows],
                    ids[rows],
                    labels[rows],
                    tuple(AugmentationParameters(*(values[rows] for values in view)) for view in views),
                )
