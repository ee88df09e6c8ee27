"""A folder of images with planted duplicates and an outlier, and their features."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from search_names import HOSTILE

from sslzoo.cli import main


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache and working folder for each test."""
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images/` and `features.npz`; tests must not change it."""
    folder = tmp_path_factory.mktemp("collection")
    images = folder / "images"
    generator = np.random.default_rng(0)
    for number in range(30):
        file = images / ("ant", "bee")[number % 2] / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        tint = np.array([200, 90, 40] if number % 2 else [40, 90, 200])
        coarse = generator.integers(0, 50, (4, 4, 3)) + tint
        Image.fromarray(coarse.astype(np.uint8)).resize((40, 36), Image.Resampling.BICUBIC).save(file)
    first = Image.open(images / "ant/000.png")
    first.save(images / "ant" / HOSTILE)
    first.save(images / "ant/100.jpg", quality=95)
    stripes = np.zeros((36, 40, 3), np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(images / "bee/200.png")
    words = ["--untrained", "--backbone", "test_resnet", "--backbone.stem", "standard", "--img-size", "32"]
    words += ["--threads", "1", "--dataset.workers", "0", "--precision", "fp32"]
    assert main(["embed", *words, "--images", str(images), "--output", str(folder / "features.npz")]) == 0
    return folder
