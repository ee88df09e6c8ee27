"""Select training images and create their views, as training does."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.batch import Batch
from sslzoo.data.display import choose_display, is_shown_unchanged
from sslzoo.data.images import Images
from sslzoo.data.loader import epoch_batches
from sslzoo.data.stream import StreamedImages
from sslzoo.experiment.schema import Experiment
from sslzoo.experiment.views import create_views
from sslzoo.runtime.counter_rng import permutation


@dataclass(frozen=True)
class ViewSample:
    """The views of one augmentation of N images."""

    name: str
    """Name of the augmentation."""
    size: int
    """Side of the views in pixels."""
    pixels: NDArray[np.float32]
    """(N, size, size, 1 or 3) in [0, 1], shown like the image."""
    boxes: NDArray[np.float32]
    """(N, 4): top, left, height and width of the crop, in pixels of the image."""


@dataclass(frozen=True)
class Preview:
    """Training images and their views."""

    images: list[NDArray[np.uint8]]
    """N images (height, width, 1 or 3), see `choose_display`."""
    views: list[ViewSample]


def sample_preview(
    experiment: Experiment, images: Images | StreamedImages, count: int, *, epoch: int = 0, device: str = "cpu"
) -> Preview:
    """Create the views of the first images of an epoch, equal to those that training sees.

    Args:
        experiment: with the settings of the measured images, see `Data.config`.
        count: number of images; fewer if there are not as many.

    Raises:
        UserError: an image cannot be decoded.
    """
    batch = _load_first_images(experiment, images, count, epoch).to(torch.device(device))
    dataset = experiment.dataset
    mean, std = (
        torch.tensor(values, device=batch.pixels.device).view(-1, 1, 1) for values in (dataset.mean, dataset.std)
    )
    pixels = batch.pixels.cpu().numpy()
    originals = [image[:, :h, :w] for image, (h, w) in zip(pixels, batch.sizes.tolist(), strict=True)]
    displays = [choose_display(image, dataset.rgb) for image in originals]
    low, high = dataset.range
    views = []
    for index, (name, view) in enumerate(
        zip(experiment.method.views, create_views(experiment, batch, epoch), strict=True)
    ):
        values = (view * std + mean).clamp(0, 1).cpu().numpy()
        if is_shown_unchanged(originals[0], dataset.rgb):
            shown = values.transpose(0, 2, 3, 1)
        else:
            values = low + values * (high - low)
            shown = np.stack([display.render(value) for display, value in zip(displays, values, strict=True)])
        views.append(
            ViewSample(name, view.shape[-1], shown, _find_boxes(experiment, batch, epoch, index).cpu().numpy())
        )
    rendered = [display.render_bytes(image) for display, image in zip(displays, originals, strict=True)]
    return Preview(rendered, views)


def _load_first_images(experiment: Experiment, images: Images | StreamedImages, count: int, epoch: int) -> Batch:
    if isinstance(images, Images):
        return images.gather(permutation(len(images), experiment.seed, epoch)[:count].numpy())
    workers = experiment.dataset.workers
    return next(epoch_batches(images, seed=experiment.seed, epoch=epoch, batch_size=count, workers=workers))


def _find_boxes(experiment: Experiment, batch: Batch, epoch: int, view: int) -> Tensor:
    """Return the crop (B, 4) of each image: top, left, height and width in pixels."""
    augmentation: Augmentation = experiment.augmentation(experiment.method.views[view])
    sizes = batch.sizes
    if augmentation.crop == "random":
        box = sample_parameters(augmentation, sizes, batch.ids, seed=experiment.seed, epoch=epoch, view=view).box
        return box.float()
    if augmentation.crop == "squash":
        return torch.cat([torch.zeros_like(sizes), sizes], dim=1).float()
    side = augmentation.crop_pct * sizes.min(dim=1, keepdim=True).values.float().expand(-1, 2)
    return torch.cat([(sizes - side) / 2, side], dim=1)
