"""Decoding JPEGs to a short side, beside Pillow and torchvision.

    python benchmarks/decode.py

Photographs are made up: colored noise, enlarged, at quality 90; 3000 x 2000 pixels as a camera has them, and 500 x 375
as ImageNet has them. All are shrunk to a short side of 256 pixels with antialiasing.
"""

import io

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rounds import Comparison, arguments, conditions, show
from torchvision.io import decode_jpeg
from torchvision.transforms.v2 import functional

from sslzoo.data.decode import decode

REPEATS, SHORT_SIDE = 7, 256


def photograph(width: int, height: int, seed: int) -> bytes:
    """A JPEG."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def comparison(width: int, height: int, count: int) -> Comparison:
    """The contenders on photographs of one size."""
    files = [photograph(width, height, seed) for seed in range(count)]
    cells = [{"bytes": file, "path": None} for file in files]
    scale = SHORT_SIDE / min(width, height)
    size = (round(width * scale), round(height * scale))

    def by_pillow() -> None:
        for file in files:
            np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize(size, Image.Resampling.BICUBIC))

    def by_torchvision() -> None:
        for file in files:
            image = decode_jpeg(torch.frombuffer(bytearray(file), dtype=torch.uint8))
            functional.resize(image, [size[1], size[0]], antialias=True)

    def ours() -> None:
        for cell in cells:
            decode(cell, channels=3, short_side=SHORT_SIDE)

    return Comparison(
        f"JPEGs of {width} x {height} pixels to a short side of {SHORT_SIDE}",
        "images a second",
        count,
        {"Pillow": by_pillow, "torchvision, decode_jpeg": by_torchvision, "sslzoo, decode": ours},
    )


def report(console: Console) -> None:
    """Print both tables."""
    for width, height, count in ((3000, 2000, 8), (500, 375, 64)):
        show(console, comparison(width, height, count), REPEATS)


def main() -> None:
    """Print the tables."""
    arguments(__doc__)
    console = Console()
    report(console)
    console.print(conditions(REPEATS))


if __name__ == "__main__":
    main()
