"""Views compiled by Numba against those of torch, which test_views.py compares with torchvision."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_views import EVERYTHING, random_images

from sslzoo.data.augment import numba_kernel
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.augment.view import apply_augmentation, create_view, normalize
from sslzoo.data.batch import Batch
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError
from sslzoo.training.setup import resolve_auto, start_accelerator

ATOL = 1e-5
"""Tolerance, the same as between torch and torchvision; pixels are in [0, 1]."""
DIGEST = Path(__file__).with_name("digest_compiled_views.py")


def both(augmentation: Augmentation, channels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Create the views of random images of random sizes, by torch and compiled."""
    pixels, sizes = random_images(channels=channels)
    parameters = sample_parameters(augmentation, sizes, torch.arange(len(pixels)), seed=seed, epoch=0, view=0)
    mean, std = (0.0,) * channels, (1.0,) * channels
    return apply_augmentation(augmentation, parameters, pixels, sizes), numba_kernel.create_views(
        augmentation, parameters, pixels, sizes, mean, std
    )


@pytest.mark.parametrize("crop", ["random", "center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("channels", "size"), [(3, 24), (1, 24), (3, 5), (3, 64)])
def test_compiled_views_equal_torch(crop: str, interpolation: str, channels: int, size: int) -> None:
    settings = {**EVERYTHING, "rotate": 0.0, "solarize": 0.0}
    augmentation = Augmentation(size=size, crop=crop, interpolation=interpolation, crop_pct=0.8, **settings)
    plain, compiled = both(augmentation, channels)
    torch.testing.assert_close(compiled, plain, atol=ATOL, rtol=0)


@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 40),
    hue=st.floats(0, 0.5),
    strength=st.floats(0, 1.5),
    sigma=st.tuples(st.floats(0.1, 1), st.floats(1, 3)),
    channels=st.sampled_from([1, 3]),
)
def test_any_augmentation(
    seed: int, size: int, hue: float, strength: float, sigma: tuple[float, float], channels: int
) -> None:
    augmentation = Augmentation(
        size=size, crop="random", flip=0.5, jitter=0.9, brightness=strength, contrast=strength, saturation=strength,
        hue=hue, grayscale=0.3, blur=0.7, blur_sigma=sigma, blur_kernel=min(2 * (size // 2) + 1, 2 * size - 1),
    )  # fmt: skip
    plain, compiled = both(augmentation, channels, seed)
    torch.testing.assert_close(compiled, plain, atol=ATOL, rtol=0)


def test_solarize_equals_torch_except_at_the_threshold() -> None:
    settings = {**EVERYTHING, "rotate": 0.0, "solarize": 0.0}
    before, _ = both(Augmentation(size=24, crop="random", **settings), 3)
    plain, compiled = both(Augmentation(size=24, crop="random", **{**settings, "solarize": 1.0}), 3)
    clear = (before - 128 / 255).abs() > ATOL
    assert clear.float().mean() > 0.99
    torch.testing.assert_close(compiled[clear], plain[clear], atol=ATOL, rtol=0)


@pytest.mark.parametrize("threads", [2, 3, 100])
def test_number_of_threads_does_not_change_the_views(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    augmentation = Augmentation(size=24, crop="random", **{**EVERYTHING, "rotate": 0.0})
    _, alone = both(augmentation, 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(both(augmentation, 3)[1], alone)
    assert len(numba_kernel.augment_each.signatures) == 1


@pytest.mark.long
def test_compiling_and_loading_from_the_cache_give_bit_identical_views(tmp_path: Path) -> None:
    def digests(cache: str) -> list[str]:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / cache)}
        done = subprocess.run(
            [sys.executable, DIGEST], env=environment, capture_output=True, text=True, check=True
        )  # fmt: skip
        return done.stdout.splitlines()

    compiled = digests("one")
    assert list((tmp_path / "one").rglob("*.nbc"))
    loaded = digests("one")
    compiled_again = digests("two")
    assert len(compiled) == 18
    assert loaded == compiled
    assert compiled_again == compiled


def test_views_are_normalized_by_channel_and_rotation_runs_in_torch() -> None:
    pixels, sizes = random_images()
    batch = Batch(pixels, sizes, torch.arange(len(pixels)), torch.zeros(len(pixels)))
    keys = {"seed": 1, "epoch": 2, "view": 0, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 1.0)}
    for rotate in (0.0, 20.0):
        augmentation = Augmentation(size=24, crop="random", flip=0.5, rotate=rotate)
        plain, compiled = (create_view(augmentation, batch, compiled=compiled, **keys) for compiled in (False, True))
        torch.testing.assert_close(compiled, plain, atol=4 * ATOL, rtol=0)
        assert torch.equal(compiled, plain) == bool(rotate)
    parameters = sample_parameters(augmentation, sizes, batch.ids, seed=1, epoch=2, view=0)
    assert (
        normalize(apply_augmentation(augmentation, parameters, pixels, sizes), (0.0,), (1.0,)).shape == compiled.shape
    )


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "numba" or name == "sslzoo.data.augment.numba_kernel":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)


@pytest.mark.usefixtures("without_numba")
def test_without_numba_auto_uses_torch_and_the_flag_is_an_error() -> None:
    with pytest.raises(UserError, match=r"^--compile-augmentations: needs Numba; `pip install numba`$"):
        start_accelerator(compose(["--compile-augmentations"]))
    experiment = compose([])
    assert experiment.compile_augmentations == "auto"
    assert resolve_auto(experiment, start_accelerator(experiment)).compile_augmentations is False


def test_auto_resolves_to_true_with_numba() -> None:
    experiment = compose([])
    assert resolve_auto(experiment, start_accelerator(experiment)).compile_augmentations is True
