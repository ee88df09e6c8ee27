"""View recipes: what is done to a picture, and the random parameters of each picture's view."""

import math
from importlib import import_module
from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from sslzoo.config import Config
from sslzoo.counter import uniform
from sslzoo.data import blur, colour, resample
from sslzoo.data.batch import Batch, ViewParameters
from sslzoo.data.boxes import random_box
from sslzoo.data.device import constant
from sslzoo.data.rotate import rotate

KERNELS = {"cpu": "sslzoo.data.fused", "cuda": "sslzoo.data.triton_kernel"}
"""Compiled kernel of each type of device; they need Numba and Triton, which are not installed everywhere."""
COMPILERS = {"cpu": "Numba", "cuda": "Triton"}
"""Package that compiles the kernel of each type of device."""
TRIES = 10
"""Boxes that a random crop tries before it takes the middle of the picture, as torchvision does."""


class ViewRecipe(Config):
    """One view of a picture: crop, flip, rotation, colour jitter, grey, blur, solarisation, in this order."""

    size: PositiveInt | None = None
    """Side of the view in pixels; None is the experiment's `img_size`."""
    crop: Literal["random", "center", "squash"] = "center"
    """`random`: a box of random area and shape, resized; `center`: the middle of the resized picture; `squash`: the
    whole picture, its sides resized each on its own."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area of a random crop, as shares of the picture's."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest ratio of width to height of a random crop."""
    crop_pct: float = Field(1.0, gt=0, le=1)
    """Center crop: share of the resized picture's shorter side that is kept; 0.875 is resize 256, crop 224."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How pictures are resized, with antialiasing."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation to either side, in degrees; what comes in at the corners is black."""
    jitter: float = Field(0.0, ge=0, le=1)
    """Probability of colour jitter: brightness, contrast, saturation and hue, in random order."""
    brightness: float = Field(0.0, ge=0)
    """Brightness is multiplied by 1 - brightness to 1 + brightness, at least 0."""
    contrast: float = Field(0.0, ge=0)
    """Contrast, likewise."""
    saturation: float = Field(0.0, ge=0)
    """Saturation, likewise."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Hue is turned by -hue to hue, as shares of the colour circle."""
    grey: float = Field(0.0, ge=0, le=1)
    """Probability of losing all colour."""
    blur: float = Field(0.0, ge=0, le=1)
    """Probability of Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur, in pixels of the view."""
    blur_kernel: PositiveInt | None = None
    """Taps of the blur, odd; None takes three standard deviations to either side. A small view takes fewer."""
    solarize: float = Field(0.0, ge=0, le=1)
    """Probability of inverting the bright pixels."""
    solarize_threshold: float = Field(128.0, ge=0, le=255)
    """Values from here on, of 255, are inverted."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, low, high in (
            ("crop_scale", *self.crop_scale),
            ("crop_ratio", *self.crop_ratio),
            ("blur_sigma", *self.blur_sigma),
        ):
            if not 0 < low <= high:
                raise ValueError(f"{name} = ({low:g}, {high:g}): takes two positive numbers, the smaller one first")
        if self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale = {self.crop_scale}: a crop is at most the whole picture, 1.0")
        if self.blur_kernel is not None and self.blur_kernel % 2 == 0:
            raise ValueError(f"blur_kernel = {self.blur_kernel}: takes an odd number of taps")
        return self

    @property
    def taps(self) -> int:
        """Number of taps of the blur, as many as reflection at the border allows at most."""
        wanted = self.blur_kernel or 2 * math.ceil(3 * self.blur_sigma[1]) + 1
        return wanted if self.size is None else min(wanted, 2 * self.size - 1)


def draw(recipe: ViewRecipe, sizes: Tensor, ids: Tensor, *, seed: int, epoch: int, view: int) -> ViewParameters:
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
    recipe: ViewRecipe,
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


def apply(recipe: ViewRecipe, parameters: ViewParameters, pixels: Tensor, sizes: Tensor) -> Tensor:
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
        views = colour.jitter(views, parameters.jitter, parameters.order, parameters.factors)
    if recipe.grey:
        views = colour.saturation(views, 1 - parameters.grey.float())
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
