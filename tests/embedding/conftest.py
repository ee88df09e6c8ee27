"""A small encoder and a folder of images."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

WEIGHTS = [
    "--backbone", "test_resnet", "--backbone.stem", "standard", "--img-size", "32", "--threads", "1",
    "--dataset.workers", "0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache for each test."""
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small network in a file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), file)
    return file


@pytest.fixture
def words(checkpoint: Path) -> list[str]:
    """Flags that name the encoder."""
    return ["--checkpoint", str(checkpoint), *WEIGHTS]


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


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 21 images."""
    write_images(tmp_path / "images", 21)
    return tmp_path / "images"
