"""Edge cases of the batched operations that create views, one by one."""

import itertools

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from sslzoo.data.augment import blur, boxes, color, resample
from sslzoo.data.augment.rotate import rotate

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (500, 2), (7, 1), (64, 48), (16, 16)])
def test_resize_of_extreme_sizes_equals_torchvision(shape: tuple[int, int], interpolation: str) -> None:
    pixels = (noise(2, 3, *shape) * 256).to(torch.uint8)
    whole = torch.tensor([[0, 0, *shape]]).expand(2, 4)
    views = resample.resized_crop(pixels, whole, torch.tensor([False, True]), 16, interpolation)
    expected = reference.resize(pixels.float() / 255, [16, 16], MODES[interpolation], antialias=True).clamp(0, 1)
    torch.testing.assert_close(views[0], expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(views[1], expected[1].flip(-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("interpolation", MODES)
def test_interpolation_weights_sum_to_one_inside_of_the_box(interpolation: str) -> None:
    start, length = torch.tensor([0, 3, 90]), torch.tensor([100, 1, 10])
    matrices = resample.interpolation_weights(start, length, length / 8, torch.arange(8), 100, interpolation)
    torch.testing.assert_close(matrices.sum(2), torch.ones(3, 8))
    assert not matrices[1, :, :3].any()
    assert not matrices[1, :, 4:].any()
    assert not matrices[2, :, :90].any()


def test_pixels_outside_of_the_box_have_no_influence() -> None:
    pixels = (noise(1, 3, 20, 30) * 256).to(torch.uint8)
    box, flip = torch.tensor([[4, 5, 6, 7]]), torch.tensor([False])
    cut = torch.zeros_like(pixels)
    cut[:, :, 4:10, 5:12] = pixels[:, :, 4:10, 5:12]
    views = [resample.resized_crop(p, box, flip, 5, "bicubic") for p in (pixels, cut)]
    assert torch.equal(*views)


def test_center_crop_does_not_change_images_of_its_size() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    sizes, flip = torch.tensor([[16, 16]]), torch.tensor([False])
    for interpolation in MODES:
        assert torch.equal(resample.center_crop(pixels, sizes, flip, 16, interpolation, 1.0), pixels.float() / 255)


def test_smallest_boxes_have_at_least_one_pixel() -> None:
    sizes, ratio = torch.tensor([[1, 1], [1, 2], [2, 500], [500, 2]]), (0.2, 0.4)
    box = boxes.sample_boxes(sizes, torch.zeros(4, 10, 2), torch.zeros(4, 2), (1e-6, 1e-6), ratio)
    assert torch.equal(box, boxes.center_boxes(sizes, ratio))
    assert (box[:, 2:] >= 1).all()
    assert (box[:, :2] + box[:, 2:] <= sizes).all()


def test_box_is_the_first_try_that_fits() -> None:
    tries = torch.tensor([[[1.0, 0.5], [1.0, 1.0], [0.0, 0.5], [0.5, 0.5]]])  # whole, too wide, a quarter, five eighths
    sizes, position = torch.tensor([[8, 8]]), torch.tensor([[0.999, 0.0]])
    args = {"scale": (0.25, 1.0), "ratio": (0.5, 2.0)}
    assert boxes.sample_boxes(sizes, tries, position, **args).tolist() == [[0, 0, 8, 8]]
    assert boxes.sample_boxes(sizes, tries[:, 1:], position, **args).tolist() == [[4, 0, 4, 4]]


def color_grid() -> Tensor:
    """Create an image (1, 3, 81, 9) with a grid of colors, including black, white, grays and pure colors."""
    level = torch.linspace(0, 1, 9)
    return torch.cartesian_prod(level, level, level).T.reshape(1, 3, 81, 9)


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.0, 1 / 6, 0.5])
def test_hue_of_every_color_equals_torchvision(shift: float) -> None:
    shifted = color.hue(color_grid(), torch.tensor([shift]))
    torch.testing.assert_close(shifted, reference.adjust_hue(color_grid(), shift), atol=2e-6, rtol=0)


def test_jitter_in_every_order_equals_torchvision() -> None:
    order = torch.tensor(list(itertools.permutations(range(4))))
    images = noise(24, 3, 6, 6)
    factors = torch.tensor([0.0, 0.6, 0.6, -0.5]) + noise(24, 4) * torch.tensor([2.0, 0.8, 0.8, 1.0])
    chosen = torch.arange(24) % 5 > 0
    before = images.clone()
    ours = color.jitter(images, chosen, order, factors)
    assert torch.equal(images, before)
    adjust = [
        reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation, reference.adjust_hue,
    ]  # fmt: skip
    for i, expected in enumerate(images):
        for number in order[i].tolist() if chosen[i] else []:
            expected = adjust[number](expected, factors[i, number].item())
        torch.testing.assert_close(ours[i], expected, atol=1e-5, rtol=0)


def test_color_operations_do_not_change_one_channel() -> None:
    images, factor = noise(4, 1, 5, 5), torch.tensor([0.0, 0.3, 1.0, 1.7])
    assert torch.equal(color.hue(images, factor - 0.5), images)
    torch.testing.assert_close(color.saturation(images, factor), images)


def test_saturation_of_zero_is_grayscale() -> None:
    images = noise(2, 3, 5, 5)
    ours = color.saturation(images, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ours[0], reference.rgb_to_grayscale(images[0], 3))
    assert torch.equal(ours[1], images[1])


@pytest.mark.parametrize(("size", "taps"), [(24, 13), (24, 47), (8, 3), (2, 3), (1, 1)])
def test_blur_with_the_widest_reflection_equals_torchvision(size: int, taps: int) -> None:
    images, sigma = noise(3, 3, size, size), torch.tensor([0.1, 1.0, 9.0])
    ours = blur.gaussian_blur(images, torch.tensor([True, False, True]), sigma, taps)
    assert torch.equal(ours[1], images[1])
    for i in (0, 2):
        expected = reference.gaussian_blur(images[i], [taps, taps], [sigma[i].item()] * 2)
        torch.testing.assert_close(ours[i], expected, atol=1e-5, rtol=0)


def test_blur_without_chosen_images_changes_nothing() -> None:
    images = noise(2, 3, 8, 8)
    assert torch.equal(blur.gaussian_blur(images, torch.tensor([False, False]), torch.ones(2), 5), images)


def test_rotation_is_counter_clockwise_about_the_center() -> None:
    images, angles = noise(4, 2, 9, 9), torch.tensor([0.0, 90.0, 180.0, -33.0])
    ours = rotate(images, angles)
    torch.testing.assert_close(ours[1], images[1].rot90(1, (-2, -1)), atol=1e-5, rtol=0)
    for i in range(4):
        expected = reference.rotate(images[i], angles[i].item(), InterpolationMode.BILINEAR)
        torch.testing.assert_close(ours[i], expected, atol=1e-5, rtol=0)
