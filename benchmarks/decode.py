"""Decode and shrink JPEGs, compared with Pillow and torchvision.

    python benchmarks/decode.py

Photographs are synthetic: enlarged color noise at quality 90, of 3000 x 2000 pixels as from a camera, and 500 x 375
as in ImageNet. All are resized to a short side of 256 pixels with antialiasing, bicubic.
"""

import io

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rounds import Comparison, describe_conditions, parse_arguments, show
from torchvision.io import decode_jpeg
from torchvision.transforms.v2 import functional

from sslzoo.data.decode import decode

REPEATS, SHORT_SIDE = 7, 256


def create_photograph(width: int, height: int, seed: int) -> bytes:
    """Create a JPEG of enlarged noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def create_comparison(width: int, height: int, count: int) -> Comparison:
    """Compare all decoders on photographs of one size."""
    files = [create_photograph(width, height, seed) for seed in range(count)]
    cells = [{"bytes": file, "path": None} for file in files]
    scale = SHORT_SIDE / min(width, height)
    size = (round(width * scale), round(height * scale))

    def run_pillow() -> None:
        for file in files:
            np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize(size, Image.Resampling.BICUBIC))

    def run_torchvision() -> None:
        for file in files:
            image = decode_jpeg(torch.frombuffer(bytearray(file), dtype=torch.uint8))
            functional.resize(image, [size[1], size[0]], functional.InterpolationMode.BICUBIC, antialias=True)

    def run_sslzoo() -> None:
        for cell in cells:
            decode(cell, channels=3, short_side=SHORT_SIDE)

    return Comparison(
        f"JPEGs of {width} x {height} pixels to a short side of {SHORT_SIDE}",
        "images a second",
        count,
        {"Pillow": run_pillow, "torchvision, decode_jpeg": run_torchvision, "sslzoo, decode": run_sslzoo},
    )


def report(console: Console) -> None:
    """Print both tables."""
    for width, height, count in ((3000, 2000, 8), (500, 375, 64)):
        show(console, create_comparison(width, height, count), REPEATS)


def main() -> None:
    """Print the tables."""
    parse_arguments(__doc__)
    console = Console()
    report(console)
    console.print(describe_conditions(REPEATS))


if __name__ == "__main__":
    main()
