"""Views: augmented images."""

from importlib import import_module

import torch
from torch import Tensor

from sslzoo.data.augment import blur, color, resample
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.device import constant
from sslzoo.data.augment.rotate import rotate
from sslzoo.data.augment.sampling import draw
from sslzoo.data.batch import Batch, ViewParameters

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
    recipe: Augmentation,
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
    """Draw and apply: a batch's view, (B, C, size, size) float32, normalised by `mean` and `std` of [0, 1] values.

    Where a batch has draws, they are taken, and none are made.

    Args:
        compiled: by the kernel of `KERNELS` for the device, unless the recipe rotates.
        memory_format: of the view.

    Raises:
        ValueError: the recipe's size is not filled in.
    """
    if batch.draws:
        parameters = batch.draws[view]
    else:
        parameters = draw(recipe, batch.sizes, batch.ids, seed=seed, epoch=epoch, view=view)
    if compiled and not recipe.rotate:
        kernel = import_module(KERNELS[batch.pixels.device.type])
        made: Tensor = kernel.make(recipe, parameters, batch.pixels, batch.sizes, mean, std, memory_format)
        return made
    plain = normalise(apply(recipe, parameters, batch.pixels, batch.sizes), mean, std)
    return plain.contiguous(memory_format=memory_format)


def apply(recipe: Augmentation, parameters: ViewParameters, pixels: Tensor, sizes: Tensor) -> Tensor:
    """The views that the parameters describe.

    The operations are those of the reference pipelines of MoCo v2, SimCLR and BYOL on torchvision, in their order
    except for the flip, which comes with the crop and commutes with the colours and the blur. All is float32:
    values are not rounded to 8 bits in between, as they are there, so views differ from those by a few levels.

    Args:
        pixels: (B, C, H, W) uint8, padded as in `Batch`; with C = 1 colour operations leave it as it is.
        sizes: (B, 2) int64.

    Returns:
        (B, C, size, size) float32 in [0, 1].

    Raises:
        ValueError: the recipe's size is not filled in.
    """
    if recipe.size is None:
        raise ValueError("the recipe has no size")
    if recipe.crop == "random":
        views = resample.resized_crop(pixels, parameters.box, parameters.flip, recipe.size, recipe.interpolation)
    elif recipe.crop == "squash":
        whole = torch.cat([torch.zeros_like(sizes), sizes], dim=1)
        views = resample.resized_crop(pixels, whole, parameters.flip, recipe.size, recipe.interpolation)
    else:
        views = resample.center_crop(pixels, sizes, parameters.flip, recipe.size, recipe.interpolation, recipe.crop_pct)
    if recipe.rotate:
        views = rotate(views, parameters.angle)
    if recipe.jitter:
        views = color.jitter(views, parameters.jitter, parameters.order, parameters.factors)
    if recipe.grey:
        views = color.saturation(views, 1 - parameters.grey.float())
    if recipe.blur:
        views = blur.gaussian(views, parameters.blur, parameters.sigma, recipe.taps)
    if recipe.solarize:
        bright = parameters.solarize[:, None, None, None] & (views >= recipe.solarize_threshold / 255)
        views = torch.where(bright, 1 - views, views)
    return views


def normalise(views: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(views - mean) / std, one number a channel or one for all."""
    shape = (-1, 1, 1)
    return (views - constant(mean, views.device).view(shape)).div_(constant(std, views.device).view(shape))
