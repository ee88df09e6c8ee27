"""The settings of an augmentation."""

import math
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from sslzoo.config.schema import Config


class Augmentation(Config):
    """How a view is created: crop, flip, rotation, color jitter, grayscale, blur and solarization, in this order."""

    size: PositiveInt | None = None
    """Side of the view in pixels; None is the experiment's `img_size`."""
    crop: Literal["random", "center", "squash"] = "center"
    """`random`: a box of random area and ratio, resized; `center`: the center of the resized image; `squash`: the
    whole image, resized without keeping its ratio."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area of a random crop, as fractions of the image's."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest ratio of width to height of a random crop."""
    crop_pct: float = Field(1.0, gt=0, le=1)
    """Center crop: fraction of the resized image's shorter side that is kept; 0.875 is resize 256, crop 224."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How images are resized, with antialiasing."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation to either side, in degrees; the empty corners are black."""
    jitter: float = Field(0.0, ge=0, le=1)
    """Probability of color jitter: brightness, contrast, saturation and hue, in random order."""
    brightness: float = Field(0.0, ge=0)
    """Brightness is multiplied by 1 - brightness to 1 + brightness, at least 0."""
    contrast: float = Field(0.0, ge=0)
    """Contrast, likewise."""
    saturation: float = Field(0.0, ge=0)
    """Saturation, likewise."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Hue is shifted by -hue to hue, as fractions of the color circle."""
    grayscale: float = Field(0.0, ge=0, le=1)
    """Probability of conversion to grayscale."""
    blur: float = Field(0.0, ge=0, le=1)
    """Probability of Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur, in pixels of the view."""
    blur_kernel: PositiveInt | None = None
    """Odd number of taps of the blur; None covers three standard deviations to either side, fewer in a small view."""
    solarize: float = Field(0.0, ge=0, le=1)
    """Probability of inverting the bright pixels."""
    solarize_threshold: float = Field(128.0, ge=0, le=255)
    """Values from this one on, of 255, are inverted."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, low, high in (
            ("crop_scale", *self.crop_scale),
            ("crop_ratio", *self.crop_ratio),
            ("blur_sigma", *self.blur_sigma),
        ):
            if not 0 < low <= high:
                raise ValueError(f"{name} = ({low:g}, {high:g}): must be two positive numbers, the smaller one first")
        if self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale = {self.crop_scale}: must be at most 1.0, the whole image")
        if self.blur_kernel is not None and self.blur_kernel % 2 == 0:
            raise ValueError(f"blur_kernel = {self.blur_kernel}: must be an odd number of taps")
        return self

    @property
    def taps(self) -> int:
        """Number of taps of the blur, limited by reflection at the border."""
        taps = self.blur_kernel or 2 * math.ceil(3 * self.blur_sigma[1]) + 1
        return taps if self.size is None else min(taps, 2 * self.size - 1)
