"""Color operations apply to the named channels, and a brightness of its own to each of the others."""

import pytest
import torch
from torch import Tensor

from sslzoo.data.augment.channels import apply_to, find_color_channels
from sslzoo.data.augment.color import scale_channels
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.augment.view import create_view
from sslzoo.data.batch import Batch

COLORS = {"jitter": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


@pytest.mark.parametrize(
    ("channels", "rgb", "found"),
    [(1, None, None), (3, None, None), (3, (0, 1, 2), None), (3, (2, 1, 0), (2, 1, 0)), (13, None, ()),
     (13, (3, 2, 1), (3, 2, 1))],
)  # fmt: skip
def test_color_channels(channels: int, rgb: tuple[int, int, int] | None, found: tuple[int, ...] | None) -> None:
    assert find_color_channels(channels, rgb) == found


def test_operation_changes_only_its_channels() -> None:
    images = torch.rand(2, 5, 3, 3)
    changed = apply_to((4, 0, 2), lambda part: part + torch.arange(3.0)[:, None, None], images)
    assert torch.equal(changed[:, [1, 3]], images[:, [1, 3]])
    assert torch.equal(changed[:, 4], images[:, 4])
    assert torch.equal(changed[:, 0], images[:, 0] + 1)
    assert torch.equal(changed[:, 2], images[:, 2] + 2)


def test_each_channel_of_chosen_images_has_its_factor() -> None:
    images = torch.full((2, 3, 1, 1), 0.5)
    scaled = scale_channels(images, torch.tensor([True, False]), torch.tensor([[0.5, 1.0, 4.0], [9.0, 9.0, 9.0]]))
    assert scaled.flatten(1).tolist() == [[0.25, 0.5, 1.0], [0.5, 0.5, 0.5]]


def sample_batch(augmentation: Augmentation, pixels: Tensor) -> Batch:
    sizes, ids = torch.tensor([pixels.shape[2:]] * len(pixels)), torch.arange(len(pixels))
    parameters = sample_parameters(augmentation, sizes, ids, seed=0, epoch=0, view=0, channels=pixels.shape[1])
    return Batch(pixels, sizes, ids, ids, (parameters,))


def create(augmentation: Augmentation, pixels: Tensor, **options: object) -> Tensor:
    batch = sample_batch(augmentation, pixels)
    return create_view(augmentation, batch, seed=0, epoch=0, view=0, mean=(0.0,), std=(1.0,), **options)


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [(torch.uint8, (0.0, 255.0)), (torch.uint16, (0.0, 65535.0)), (torch.float32, (-3.0, 5.0))],
)
def test_geometry_scales_every_type_to_the_unit_interval(dtype: torch.dtype, value_range: tuple[float, float]) -> None:
    """Values relative to the range are equal, so the crops are."""
    low, high = value_range
    unit = torch.randint(0, 256, (4, 6, 16, 16)) / 255
    values = low + unit * (high - low)
    pixels = (values if dtype.is_floating_point else values.round()).to(dtype)
    augmentation = Augmentation(size=8, crop="random", flip=0.5)
    view = create(augmentation, pixels, value_range=value_range)
    expected = create(augmentation, (unit * 255).round().to(torch.uint8), value_range=(0.0, 255.0))
    torch.testing.assert_close(view, expected, atol=1e-4, rtol=0)


def test_colors_of_rgb_channels_equal_those_of_an_rgb_image() -> None:
    pixels = torch.randint(0, 256, (4, 7, 8, 8), dtype=torch.uint8)
    augmentation = Augmentation(size=8, crop="squash", grayscale=0.5, solarize=0.2, **COLORS)
    order = [5, 0, 3]
    view = create(augmentation, pixels, value_range=(0.0, 255.0), rgb=tuple(order))
    alone = create(augmentation, pixels[:, order].contiguous(), value_range=(0.0, 255.0))
    torch.testing.assert_close(view[:, order], alone)
    others = [channel for channel in range(7) if channel not in order]
    before = pixels[:, others] / 255
    inside = (view[:, others] < 1) & (before > 0.1)
    ratios = torch.where(inside, view[:, others] / before, torch.nan).flatten(2)
    spread = torch.nan_to_num(ratios - ratios.nanmean(dim=2, keepdim=True)).abs().max()
    assert float(spread) < 1e-4  # one factor for each channel of each image
    factors = ratios.nanmean(dim=2)
    assert float(factors.std()) > 0.05
    assert 0.6 <= float(factors.min()) <= float(factors.max()) <= 1.4


def test_factors_do_not_depend_on_the_batch() -> None:
    pixels = torch.randint(0, 256, (4, 7, 8, 8), dtype=torch.uint8)
    augmentation = Augmentation(size=8, crop="squash", **COLORS)
    whole = create(augmentation, pixels, value_range=(0.0, 255.0))
    assert torch.equal(create(augmentation, pixels[:2], value_range=(0.0, 255.0)), whole[:2])
