"""Views of the Triton kernel against those of torch, run by Triton's interpreter."""

import pytest
import torch
from test_views import EVERYTHING, random_images

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.augment.view import apply_augmentation, normalize

triton_kernel = pytest.importorskip("sslzoo.data.augment.triton_kernel", reason="Triton is not installed")

ATOL = 1e-5
"""Tolerance, the same as between torch and torchvision; pixels are in [0, 1]."""
COUNT = 8


def create_both(
    augmentation: Augmentation, channels: int, memory_format: torch.memory_format = torch.contiguous_format
) -> tuple[torch.Tensor, torch.Tensor]:
    """Create the views of random images of random sizes, by torch and by the kernel."""
    pixels, sizes = random_images(n=COUNT, channels=channels, largest=24)
    parameters = sample_parameters(augmentation, sizes, torch.arange(len(pixels)), seed=0, epoch=0, view=0)
    mean, std = (0.1, 0.2, 0.3)[:channels], (0.5, 0.25, 1.0)[:channels]
    plain = normalize(apply_augmentation(augmentation, parameters, pixels, sizes), mean, std)
    return plain, triton_kernel.create_views(augmentation, parameters, pixels, sizes, mean, std, memory_format)


@pytest.mark.parametrize("crop", ["random", "center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("channels", "size"), [(3, 24), (1, 24), (3, 5), (3, 40)])
def test_views_equal_torch_for_every_operation(crop: str, interpolation: str, channels: int, size: int) -> None:
    settings = {**EVERYTHING, "rotate": 0.0, "solarize": 0.0}
    augmentation = Augmentation(size=size, crop=crop, interpolation=interpolation, crop_pct=0.8, **settings)
    plain, compiled = create_both(augmentation, channels)
    torch.testing.assert_close(compiled, plain, atol=4 * ATOL, rtol=0)


def test_views_equal_torch_in_channels_last() -> None:
    augmentation = Augmentation(size=24, crop="random", **{**EVERYTHING, "rotate": 0.0, "solarize": 0.0})
    plain, compiled = create_both(augmentation, 3, torch.channels_last)
    assert compiled.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(compiled, plain, atol=4 * ATOL, rtol=0)


def test_solarize_equals_torch_except_at_the_threshold() -> None:
    plain, compiled = create_both(Augmentation(size=24, crop="random", flip=0.5, solarize=1.0), 3)
    agrees = (plain - compiled).abs() < 4 * ATOL
    assert agrees.float().mean() > 0.99
