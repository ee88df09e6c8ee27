"""Images and flags of a small encoder for the tests of embeddings."""

from pathlib import Path

import numpy as np
from PIL import Image

WEIGHTS = [
    "--backbone", "test_resnet", "--backbone.stem", "standard", "--img-size", "32", "--threads", "1",
    "--dataset.workers", "0",
]  # fmt: skip


def write_images(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """Write images of several sizes into two folders, which are their classes."""
    generator = np.random.default_rng(seed)
    files = []
    for number in range(count):
        file = folder / ("ant", "bee")[number % 2] / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 255, (5, 4, 3), dtype=np.uint8))
        coarse.resize((40 + number % 7, 36), Image.Resampling.BICUBIC).save(file)
        files.append(file)
    return files
