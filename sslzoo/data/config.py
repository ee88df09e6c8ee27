"""The settings of a data set."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from sslzoo.config.schema import Config


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
    channels: Literal[1, 3] = 3
    """Channels that every image is converted to: 3 is RGB, 1 is grayscale."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Mean of the pixels in [0, 1], one value per channel or one for all; by default that of ImageNet."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Standard deviation of the pixels in [0, 1], one value per channel or one for all."""
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
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} values: give one, or one for each of the"
                    f" {self.channels} channels"
                )
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.streaming and self.epoch_images is None:
            raise ValueError("streaming needs epoch_images, the number of images per epoch")
        return self
