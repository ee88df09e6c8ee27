"""Views: augmented images."""

from importlib import import_module

import torch
from torch import Tensor

from sslzoo.data.augment import blur, color, resample
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.device import device_constant
from sslzoo.data.augment.rotate import rotate
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.batch import AugmentationParameters, Batch

KERNELS = {"cpu": "sslzoo.data.augment.numba_kernel", "cuda": "sslzoo.data.augment.triton_kernel"}
"""Compiled kernel of each type of device; they need Numba and Triton, which are not installed everywhere."""
COMPILERS = {"cpu": "Numba", "cuda": "Triton"}
"""Package that compiles the kernel of each type of device."""


def why_not_compiled(device_type: str) -> str | None:
    """The reason why no views can be compiled for this type of device, as one line; None where they can."""
    if device_type not in KERNELS:
        return f"there are kernels for {' and '.join(KERNELS)}, and the device is {device_type}"
    compiler = COMPILERS[device_type]
    try:
        import_module(KERNELS[device_type])
    except ImportError:
        return f"needs {compiler}; `pip install {compiler.lower()}`"
    except RuntimeError as error:  # Numba finds no folder for compiled code
        return f"{error}; NUMBA_CACHE_DIR names a folder for compiled code"
    return None


@torch.no_grad()
def make_view(
    augmentation: Augmentation,
    batch: Batch,
    *,
    seed: int,
    epoch: int,
    view: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    compiled: bool = False,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Draw and apply: a batch's view, (B, C, size, size) float32, normalized by `mean` and `std` of [0, 1] values.

    Where a batch has draws, they are taken, and none are made.

    Args:
        compiled: by the kernel of `KERNELS` for the device, unless the augmentation rotates.
        memory_format: of the view.

    Raises:
        ValueError: the augmentation's size is not filled in.
    """
    if batch.draws:
        parameters = batch.draws[view]
    else:
        parameters = sample_parameters(augmentation, batch.sizes, batch.ids, seed=seed, epoch=epoch, view=view)
    if compiled and not augmentation.rotate:
        kernel = import_module(KERNELS[batch.pixels.device.type])
        made: Tensor = kernel.make(augmentation, parameters, batch.pixels, batch.sizes, mean, std, memory_format)
        return made
    plain = normalize(apply(augmentation, parameters, batch.pixels, batch.sizes), mean, std)
    return plain.contiguous(memory_format=memory_format)


def apply(augmentation: Augmentation, parameters: AugmentationParameters, pixels: Tensor, sizes: Tensor) -> Tensor:
    """The views that the parameters describe.

    The operations are those of the reference pipelines of MoCo v2, SimCLR and BYOL on torchvision, in their order
    except for the flip, which comes with the crop and commutes with the colors and the blur. All is float32:
    values are not rounded to 8 bits in between, as torchvision does, so views differ by a few levels.

    Args:
        pixels: (B, C, H, W) uint8, padded as in `Batch`; with C = 1 color operations leave it as it is.
        sizes: (B, 2) int64.

    Returns:
        (B, C, size, size) float32 in [0, 1].

    Raises:
        ValueError: the augmentation's size is not filled in.
    """
    if augmentation.size is None:
        raise ValueError("the augmentation has no size")
    if augmentation.crop == "random":
        views = resample.resized_crop(
            pixels, parameters.box, parameters.flip, augmentation.size, augmentation.interpolation
        )
    elif augmentation.crop == "squash":
        whole = torch.cat([torch.zeros_like(sizes), sizes], dim=1)
        views = resample.resized_crop(pixels, whole, parameters.flip, augmentation.size, augmentation.interpolation)
    else:
        views = resample.center_crop(
            pixels, sizes, parameters.flip, augmentation.size, augmentation.interpolation, augmentation.crop_pct
        )
    if augmentation.rotate:
        views = rotate(views, parameters.angle)
    if augmentation.jitter:
        views = color.jitter(views, parameters.jitter, parameters.order, parameters.factors)
    if augmentation.grayscale:
        views = color.saturation(views, 1 - parameters.grayscale.float())
    if augmentation.blur:
        views = blur.gaussian(views, parameters.blur, parameters.sigma, augmentation.taps)
    if augmentation.solarize:
        bright = parameters.solarize[:, None, None, None] & (views >= augmentation.solarize_threshold / 255)
        views = torch.where(bright, 1 - views, views)
    return views


def normalize(views: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(views - mean) / std, one number a channel or one for all."""
    shape = (-1, 1, 1)
    return (views - device_constant(mean, views.device).view(shape)).div_(
        device_constant(std, views.device).view(shape)
    )
