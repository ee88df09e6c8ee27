"""Pairs of views per second, compared with other libraries.

    python benchmarks/augment.py
    python benchmarks/augment.py --images 512 --size 32

A pair is a strong and a weak view of one image with ASCL's augmentations for CIFAR-10: crop and flip, and for the
strong view also jitter, grayscale and blur. Other libraries are used as their documentation suggests:

- per image: torchvision's transforms on PIL images, as in the code of most papers;
- per image, tensors: torchvision's transforms v2 on uint8 tensors;
- lightly: its transform of MoCo v2 on PIL images, with the weak view of the first;
- kornia: its transforms on a batch.

All use the same decoded images. The floor is the minimum of any augmentation: each image is gathered and normalized
once per view. Contenders run in turn; ratios are relative to the first.
"""

import os
import random
from collections.abc import Callable
from functools import partial

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # otherwise it contacts a server

import numpy as np
import torch
import torchvision
from PIL import Image, ImageFilter
from rich.console import Console
from rounds import Comparison, describe_conditions, parse_arguments, show
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import v2

from sslzoo.data.augment.view import create_view, normalize
from sslzoo.data.batch import Batch
from sslzoo.experiment.compose import compose

REPEATS = 7


class PilBlur:
    """Gaussian blur of PIL with a random radius, as in the code of MoCo v2."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(self.low, self.high)))


def create_contenders(
    images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], size: int
) -> dict[str, Callable[[], object]]:
    """Create the functions to time, by name; each creates all pairs once.

    Args:
        images: (N, size, size, 3).
    """
    experiment = compose(["--method", "ascl", "--dataset", "cifar10", "--img-size", str(size)])
    strong, weak = experiment.augmentation("strong"), experiment.augmentation("weak")
    mean, std = experiment.dataset.mean, experiment.dataset.std
    jitter = (strong.brightness, strong.contrast, strong.saturation, strong.hue)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    n = len(batch)
    stored = Batch(batch, torch.full((n, 2), size), torch.arange(n), torch.zeros(n, dtype=torch.int64))

    def run_pil() -> Tensor:
        crop = [v1.RandomResizedCrop(size, strong.crop_scale), v1.RandomHorizontalFlip()]
        end = [v1.ToTensor(), v1.Normalize(mean, std)]
        colors = [
            v1.RandomApply([v1.ColorJitter(*jitter)], strong.jitter),
            v1.RandomGrayscale(strong.grayscale),
            v1.RandomApply([PilBlur(*strong.blur_sigma)], strong.blur),
        ]
        pipelines = v1.Compose([*crop, *colors, *end]), v1.Compose([*crop, *end])
        views = [make(Image.fromarray(image)) for image in images for make in pipelines]
        return torch.stack(views)

    def run_tensors() -> Tensor:
        crop = [v2.RandomResizedCrop(size, strong.crop_scale, antialias=True), v2.RandomHorizontalFlip()]
        end = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
        colors = [
            v2.RandomApply([v2.ColorJitter(*jitter)], strong.jitter),
            v2.RandomGrayscale(strong.grayscale),
            v2.RandomApply([v2.GaussianBlur(strong.taps, strong.blur_sigma)], strong.blur),
        ]
        pipelines = v2.Compose([*crop, *colors, *end]), v2.Compose([*crop, *end])
        return torch.stack([make(image) for image in batch for make in pipelines])

    def run_lightly() -> Tensor:
        from lightly.transforms import MoCoV2Transform

        strong_view = MoCoV2Transform(input_size=size, normalize={"mean": list(mean), "std": list(std)}).transforms[0]
        crop = [v1.RandomResizedCrop(size, strong.crop_scale), v1.RandomHorizontalFlip()]
        weak_view = v1.Compose([*crop, v1.ToTensor(), v1.Normalize(mean, std)])
        views = [make(Image.fromarray(image)) for image in images for make in (strong_view, weak_view)]
        return torch.stack(views)

    def run_kornia() -> Tensor:
        from kornia import augmentation as kornia

        crop = [kornia.RandomResizedCrop((size, size), strong.crop_scale), kornia.RandomHorizontalFlip()]
        taps = (strong.taps, strong.taps)
        colors = [
            kornia.ColorJitter(*jitter, p=strong.jitter),
            kornia.RandomGrayscale(p=strong.grayscale),
            kornia.RandomGaussianBlur(taps, strong.blur_sigma, p=strong.blur),
        ]
        pixels = batch.float() / 255
        pipelines = torch.nn.Sequential(*crop, *colors), torch.nn.Sequential(*crop)
        return torch.cat([normalize(make(pixels), mean, std) for make in pipelines])

    def run_sslzoo(compiled: bool) -> list[Tensor]:
        return [
            create_view(augmentation, stored, seed=0, epoch=0, view=view, mean=mean, std=std, compiled=compiled)
            for view, augmentation in enumerate((strong, weak))
        ]

    def run_floor() -> list[Tensor]:
        order = torch.arange(n).flip(0)
        return [normalize(batch[order].float() / 255, mean, std) for _ in range(2)]

    return {
        "torchvision, per image": run_pil,
        "torchvision v2, per image, tensors": run_tensors,
        "lightly, per image": run_lightly,
        "kornia, per batch": run_kornia,
        "sslzoo, torch": partial(run_sslzoo, False),
        "sslzoo, compiled": partial(run_sslzoo, True),
        "floor: gather and normalize": run_floor,
    }


def create_comparison(count: int, size: int) -> Comparison:
    """Compare all contenders on random images."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    title = f"pairs of a strong and a weak view, {count} images of {size} pixels"
    return Comparison(title, "pairs a second", count, create_contenders(images, size))


def main() -> None:
    """Time all contenders in turn and print the table."""
    asked = parse_arguments(__doc__, images=256, size=32)
    console = Console()
    show(console, create_comparison(asked.images, asked.size), REPEATS)
    console.print(f"torchvision {torchvision.__version__}, {describe_conditions(REPEATS)}")


if __name__ == "__main__":
    main()
