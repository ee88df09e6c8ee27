"""The settings of a data set."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from sslzoo.config.schema import Config


class DatasetConfig(Config):
    """Which images to train on and to measure with."""

    name: str = "custom"
    """What tables and plots call the data set."""
    source: str = "huggingface"
    """Where the images come from: `huggingface` (the Hub, local files), `digits`, or a plug-in's."""
    path: str | None = None
    """Name on the Hub (`uoft-cs/cifar10`), or a local folder or file: images, parquet, or .tar shards."""
    subset: str | None = None
    """Configuration of a data set that has several, such as `160px`; a local folder that has none needs none."""
    revision: str | None = None
    """Branch, tag or commit of a data set on the Hub."""
    train: str = "train"
    """Split to pre-train on; several are joined by +, as in `train+unlabeled`."""
    labeled: str | None = None
    """Labeled split that kNN and probes learn from, where it is not the training split."""
    test: str | None = "test"
    """Split that kNN and probes are measured on; None where there is no such split."""
    image: str | None = None
    """Column of the images; found when there is only one."""
    label: str | None = None
    """Column of the labels; found when there is only one."""
    unlabeled: bool = False
    """Ignore labels: for a folder whose folders are not classes."""
    channels: Literal[1, 3] = 3
    """Channels that every image is converted to: 3 is RGB, 1 is grayscale."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Mean of the pixels in [0, 1], one number a channel or one for all; by default that of ImageNet."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Standard deviation of the pixels in [0, 1], one number a channel or one for all."""
    short_side: int | None = Field(default=None, ge=1)
    """Shrink images whose shorter side is longer than this many pixels when they are decoded."""
    limit: int | None = Field(default=None, ge=1)
    """Train on this many images only: the same ones in every run, balanced over the classes where there are
    labels. With streaming: how many images of the labeled split are kept."""
    test_limit: int | None = Field(default=None, ge=1)
    """Measure on this many images only, chosen likewise; with streaming, on the first ones."""
    max_skipped: int = Field(default=0, ge=0)
    """Images that cannot be decoded and are left out, at most. Above 0 all are decoded before training starts, once
    for a data set; those of a stream as they come."""
    cache: Literal["auto", "memory-map", "none"] = "auto"
    """Keep the decoded images in a file (`memory-map`), or decode them whenever they are read (`none`);
    `auto` keeps them where they fit."""
    cache_gib: float = Field(default=64.0, gt=0)
    """Largest file that `cache: auto` writes for a split, in GiB; it also leaves half of the free disk."""
    cache_dir: Path | None = None
    """Folder of the decoded images; by default $SSLZOO_CACHE, or `sslzoo` in the user's cache folder."""
    workers: int = Field(default=4, ge=0)
    """Processes that decode images which are not kept decoded (threads, with streaming); 0: none."""
    streaming: bool = False
    """Read the training split as a stream, without downloading or storing it."""
    epoch_images: int | None = Field(default=None, ge=1)
    """Images that make one epoch of a stream, over all processes."""
    shuffle_buffer: int = Field(default=10_000, ge=1)
    """Images of a stream among which the next one is drawn."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} numbers: give one, or one for each of the"
                    f" {self.channels} channels"
                )
        if min(self.std) <= 0:
            raise ValueError("std has to be above 0")
        if self.streaming and self.epoch_images is None:
            raise ValueError("streaming needs epoch_images, the number of images that make one epoch")
        return self
