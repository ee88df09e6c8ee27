import datasets
import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def separate_caches(tmp_path_factory, monkeypatch):
    """Use caches of this test only, and no network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path_factory.mktemp("sslzoo")))


@pytest.fixture
def random_image():
    """A function that returns a different random image each time: (height, width, 3) uint8."""
    random = np.random.default_rng(0)
    return lambda height=6, width=8: random.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def class_folders(tmp_path, random_image):
    """A folder with train/ and test/, each with three images of class cat and two of class dog."""
    root = tmp_path / "animals"
    for split in ("train", "test"):
        for name, count in (("cat", 3), ("dog", 2)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(random_image()).save(folder / f"{number}.png")
    return root
