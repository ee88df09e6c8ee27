"""A small encoder and a folder of images."""

from pathlib import Path

import pytest
import timm
import torch
from embedding_images import WEIGHTS, write_images
from safetensors.torch import save_file


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


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 21 images."""
    write_images(tmp_path / "images", 21)
    return tmp_path / "images"
