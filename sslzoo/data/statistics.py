"""Measure range, mean and standard deviation of the pixels of training images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sslzoo.data.config import DatasetConfig
from sslzoo.data.images import Images
from sslzoo.data.loader import ordered_batches
from sslzoo.data.pixels import Pixels, scale_pixels
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.distributed import rank
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import print_note

SAMPLE = 2048
"""Largest number of images that are measured: always the same ones."""
BATCH = 64
DIGITS = 6
"""Significant digits of measured values."""


@dataclass
class ChannelStatistics:
    """Count, mean and sum of squared deviations of each channel, and the extremes of all, in float64.

    Images are merged by the parallel algorithm of Chan, Golub and LeVeque (1979), which does not cancel.
    """

    channels: int

    def __post_init__(self) -> None:
        self.count = 0
        self.mean: NDArray[np.float64] = np.zeros(self.channels)
        self.squares: NDArray[np.float64] = np.zeros(self.channels)
        self.low, self.high = np.inf, -np.inf

    def add(self, image: Pixels) -> None:
        """Add an image (C, H, W)."""
        values = image.reshape(self.channels, -1).astype(np.float64)
        count, mean = values.shape[1], values.mean(axis=1)
        squares = np.square(values - mean[:, None]).sum(axis=1)
        total, difference = self.count + count, mean - self.mean
        self.squares += squares + difference**2 * (self.count * count / total)
        self.mean += difference * (count / total)
        self.count = total
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of each channel (C,)."""
        return np.sqrt(self.squares / self.count)


def measure_statistics(config: DatasetConfig, images: Images) -> DatasetConfig:
    """Set range, mean and standard deviation where the settings leave them open.

    They are measured in one pass over up to `SAMPLE` images. The standard deviation of a constant channel is 1.

    Args:
        config: with channels and type.
        images: of the training split.

    Raises:
        UserError: all pixels are equal, and they are floating-point numbers without a range.
    """
    if config.is_measured:
        return config
    chosen = np.sort(permutation(len(images), 0).numpy()[:SAMPLE])
    if rank() == 0:
        names = " and ".join(name for name in ("range", "mean", "std") if not getattr(config, name))
        print_note(Console(), f"measuring {names} of {len(chosen):,} training images, once")
    statistics = ChannelStatistics(images.channels)
    for batch in ordered_batches(images.subset(chosen), BATCH):
        for image, (height, width) in zip(batch.pixels.numpy(), batch.sizes.tolist(), strict=True):
            pixels = image[:, :height, :width]
            statistics.add(scale_pixels(pixels, config.range) if config.range else pixels)
    value_range, mean, std = config.range, statistics.mean, statistics.std
    if not value_range:
        if statistics.low == statistics.high:
            raise UserError(
                f"--dataset.range: cannot be measured, as all pixels are {statistics.low:g}; give two numbers"
            )
        value_range = _round([statistics.low, statistics.high])
        mean = (mean - value_range[0]) / (value_range[1] - value_range[0])
        std = std / (value_range[1] - value_range[0])
    std = np.where(std > 0, std, 1.0)
    return config.revise({"range": value_range, "mean": config.mean or _round(mean), "std": config.std or _round(std)})


def _round(values: "NDArray[np.float64] | list[float]") -> tuple[float, ...]:
    """Round to `DIGITS` significant digits, which makes config files readable."""
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
