"""The settings of a data set."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sslzoo.config.schema import Config, SettingError
from sslzoo.data.pixels import IMAGENET_MEAN, IMAGENET_STD, MAX_CHANNELS, RANGES, Dtype
from sslzoo.runtime.errors import UserError


class DatasetConfig(Config):
    """The data set: images for pre-training and for measuring accuracy."""

    name: str = "custom"
    """Name of the data set in tables and plots."""
    source: str = "huggingface"
    """Where the images come from: `huggingface` (the Hub, local files), `digits`, or a plug-in source."""
    path: str | None = None
    """Name on the Hub (`uoft-cs/cifar10`), or a local folder or file: images, parquet, or .tar shards."""
    subset: str | None = None
    """Configuration of a data set that has several, such as `160px`; not needed for most local folders."""
    revision: str | None = None
    """Branch, tag or commit of a data set on the Hub."""
    train: str = "train"
    """Split for pre-training; join several with +, as in `train+unlabeled`."""
    labeled: str | None = None
    """Labeled split that kNN and probes learn from, if it is not the training split."""
    test: str | None = "test"
    """Split on which kNN and probes are measured; None if there is none."""
    test_share: float = Field(default=0.2, ge=0, lt=1)
    """Without a test split, share of the labeled images that is held out as one and not trained on; 0 disables it."""
    test_seed: int = Field(default=0, ge=0)
    """Seed of the choice of these images."""
    image: str | None = None
    """Column of the images; found automatically if there is only one."""
    label: str | None = None
    """Column of the labels; found automatically if there is only one."""
    unlabeled: bool = False
    """Ignore labels, for a folder whose subfolders are not classes."""
    channels: int = Field(default=0, ge=0, le=MAX_CHANNELS)
    """Channels of the images, up to 16. 8-bit images are converted to 3, RGB, or 1, grayscale. 0 is the number of the
    first image, and 3 if that has 8 bits and a format such as JPEG or PNG."""
    dtype: Literal["auto", Dtype] = "auto"
    """Type of the stored pixels. `auto`: uint8 if `channels` is 1 or 3, otherwise the type of the first image."""
    range: tuple[float, ...] = ()
    """Smallest and largest pixel value, which become 0 and 1. Empty: 0 and 255 or 65535, and for floating-point pixels
    the extremes that are measured on training images."""
    rgb: tuple[int, int, int] | None = None
    """Numbers, from 0, of the red, green and blue channel, to which color operations apply; (3, 2, 1) for Sentinel-2.
    None: images of 3 channels are RGB, others have no such channels."""
    mean: tuple[float, ...] = ()
    """Mean of the pixels in [0, 1], one value per channel or one for all. Empty: that of ImageNet for 8-bit RGB images,
    otherwise measured on training images."""
    std: tuple[float, ...] = ()
    """Standard deviation of the pixels in [0, 1], likewise."""
    short_side: int | None = Field(default=None, ge=1)
    """Shorter side in pixels to which larger images are shrunk when they are decoded."""
    limit: int | None = Field(default=None, ge=1)
    """Train on this many images only: the same ones in every run, balanced over the classes if there are labels.
    With streaming, the number of images of the labeled split."""
    test_limit: int | None = Field(default=None, ge=1)
    """Measure on this many test images only, chosen in the same way; with streaming, on the first ones."""
    max_skipped: int | None = Field(default=0, ge=0)
    """Largest number of undecodable images that are skipped; None for any number. Unless it is 0, all images are
    decoded once before training starts; those of a stream are decoded as they arrive."""
    cache: Literal["auto", "memory-map", "none"] = "auto"
    """Store the decoded images in a file (`memory-map`), or decode them whenever they are read (`none`);
    `auto` stores them if they fit."""
    cache_gib: float = Field(default=64.0, gt=0)
    """Largest file that `cache: auto` writes for a split, in GiB; it also leaves half of the free disk space."""
    cache_dir: Path | None = None
    """Folder of the decoded images; by default $SSLZOO_CACHE, or `sslzoo` in the user's cache folder."""
    workers: int = Field(default=4, ge=0)
    """Processes that decode images if they are not cached (threads with streaming); 0 uses a background thread."""
    streaming: bool = False
    """Read the training split as a stream, without downloading or storing it."""
    epoch_images: int | None = Field(default=None, ge=1)
    """Images per epoch of a stream, over all processes."""
    shuffle_buffer: int = Field(default=10_000, ge=1)
    """Size of the shuffle buffer of a stream, in images."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("mean", "std"):
            if self.channels and len(getattr(self, name)) not in (0, 1, self.channels):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} values: give one, or one for each of the"
                    f" {self.channels} channels"
                )
        if min(self.std, default=1) <= 0:
            raise ValueError("std must be above 0")
        if self.range and (len(self.range) != 2 or not self.range[0] < self.range[1]):
            raise ValueError("range must be two numbers, the smaller one first")
        if self.range and self.dtype == "uint8" and self.range != RANGES["uint8"]:
            raise ValueError("range must be 0 and 255 for pixels of uint8")
        if self.rgb is not None:
            bound = self.channels or MAX_CHANNELS
            if len(set(self.rgb)) < 3 or min(self.rgb) < 0 or max(self.rgb) >= bound:
                raise ValueError(f"rgb must be three different channels, numbers from 0 to {bound - 1}")
        if self.streaming and self.epoch_images is None:
            raise ValueError("streaming needs epoch_images, the number of images per epoch")
        return self

    @property
    def is_measured(self) -> bool:
        """Whether `channels`, `dtype`, `range`, `mean` and `std` have values."""
        return all(getattr(self, name) != unset for name, unset in MEASURED.items())

    @property
    def known_dtype(self) -> Dtype | None:
        """The type of the pixels; None if it must be detected."""
        if self.dtype != "auto":
            return self.dtype
        return "uint8" if self.channels in (1, 3) else None

    @property
    def pixel_dtype(self) -> Dtype:
        """The type of the pixels, after it was detected."""
        assert self.dtype != "auto"
        return self.dtype

    def fill_defaults(self, channels: int, dtype: Dtype) -> Self:
        """Return the settings for images of these channels and this type, with the values that need no measurement."""
        values: dict[str, Any] = {"channels": channels, "dtype": dtype, "range": self.range or RANGES.get(dtype, ())}
        if (channels, dtype) == (3, "uint8"):
            values |= {"mean": self.mean or IMAGENET_MEAN, "std": self.std or IMAGENET_STD}
        return self.revise(values)

    def restore_measured(self, saved: Self) -> Self:
        """Return the settings with the measured values of saved ones where they have none."""
        unset = [name for name, value in MEASURED.items() if getattr(self, name) == value]
        return self.model_copy(update={name: getattr(saved, name) for name in unset})

    def revise(self, values: dict[str, Any]) -> Self:
        """Return the settings with other values, after validating them.

        Raises:
            UserError: they are inconsistent.
        """
        try:
            return type(self)(**{**self.model_dump(), **values})
        except SettingError as error:
            raise UserError(f"--dataset.{error}") from None


MEASURED: dict[str, Any] = {"channels": 0, "dtype": "auto", "range": (), "mean": (), "std": ()}
"""Settings that are measured on the images unless they are set, and the value that stands for this."""
