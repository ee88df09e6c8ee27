"""Views against torchvision: the same pixels for the same parameters, and the same distribution of parameters."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.augment.view import apply_augmentation, create_view
from sslzoo.data.batch import AugmentationParameters, Batch
from sslzoo.runtime.errors import UserError

EVERYTHING = {
    "crop_scale": (0.2, 1.0), "flip": 0.5, "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4,
    "hue": 0.1, "grayscale": 0.2, "blur": 0.5, "solarize": 0.3, "rotate": 20.0,
}  # fmt: skip


def random_images(n: int = 24, channels: int = 3, largest: int = 50) -> tuple[Tensor, Tensor]:
    """Create random images of random sizes, padded: (n, channels, largest, largest) uint8 and sizes (n, 2)."""
    generator = torch.Generator().manual_seed(n)
    sizes = torch.randint(1, largest + 1, (n, 2), generator=generator)
    sizes[0] = torch.tensor([1, 1])
    sizes[1] = torch.tensor([2, largest])
    sizes[2] = largest
    pixels = torch.zeros(n, channels, largest, largest, dtype=torch.uint8)
    for image, (height, width) in zip(pixels, sizes.tolist(), strict=True):
        image[:, :height, :width] = torch.randint(0, 256, (channels, height, width), generator=generator)
    return pixels, sizes


def apply_torchvision(augmentation: Augmentation, parameters: AugmentationParameters, image: Tensor, i: int) -> Tensor:
    """Create one view of one image (C, H, W) in [0, 1], operation by operation."""
    mode = InterpolationMode.BILINEAR if augmentation.interpolation == "bilinear" else InterpolationMode.BICUBIC
    size = [augmentation.size, augmentation.size]
    if augmentation.crop == "random":
        top, left, height, width = parameters.box[i].tolist()
        x = reference.resized_crop(image, top, left, height, width, size, mode, antialias=True)
    elif augmentation.crop == "squash":
        x = reference.resize(image, size, mode, antialias=True)
    else:
        x = reference.resize(image, [math.floor(augmentation.size / augmentation.crop_pct)], mode, antialias=True)
        x = reference.center_crop(x, size)
    x = x.clamp(0, 1) if x.is_floating_point() else x
    x = reference.horizontal_flip(x) if parameters.flip[i] and augmentation.rotate else x
    x = reference.rotate(x, parameters.angle[i].item(), InterpolationMode.BILINEAR) if augmentation.rotate else x
    adjust = [
        reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation, reference.adjust_hue,
    ]  # fmt: skip
    if parameters.jitter[i]:
        for number in parameters.order[i].tolist():
            x = adjust[number](x, parameters.factors[i, number].item())
    if parameters.grayscale[i]:
        x = reference.rgb_to_grayscale(x, num_output_channels=len(x))
    if parameters.blur[i]:
        x = reference.gaussian_blur(x, [augmentation.taps] * 2, [parameters.sigma[i].item()] * 2)
    if parameters.solarize[i]:
        x = reference.solarize(x, augmentation.solarize_threshold / 255)
    return reference.horizontal_flip(x) if parameters.flip[i] and not augmentation.rotate else x


@pytest.mark.parametrize("crop", ["random", "center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("channels", "size", "rotate"), [(3, 24, 0), (3, 24, 180), (1, 24, 20), (3, 5, 0)])
def test_same_parameters_give_the_same_pixels(
    crop: str, interpolation: str, channels: int, size: int, rotate: float
) -> None:
    settings = {**EVERYTHING, "rotate": rotate}
    augmentation = Augmentation(size=size, crop=crop, interpolation=interpolation, crop_pct=0.8, **settings)
    pixels, sizes = random_images(channels=channels)
    parameters = sample_parameters(augmentation, sizes, torch.arange(len(pixels)), seed=0, epoch=0, view=0)
    views = apply_augmentation(augmentation, parameters, pixels, sizes)
    for i, (height, width) in enumerate(sizes.tolist()):
        expected = apply_torchvision(augmentation, parameters, pixels[i, :, :height, :width].float() / 255, i)
        threshold = augmentation.solarize_threshold / 255  # rounding decides on which side a pixel lies
        undecided = torch.minimum((expected - threshold).abs(), (1 - expected - threshold).abs()) < 1e-5
        assert undecided.float().mean() < 0.05
        torch.testing.assert_close(views[i].where(~undecided, expected), expected, atol=1e-5, rtol=0)


def test_rounding_after_each_operation_changes_little() -> None:
    """The reference pipeline on uint8 images rounds after each operation; the views stay within a few levels."""
    augmentation = Augmentation(size=24, crop="random", **{**EVERYTHING, "solarize": 0.0})
    pixels, sizes = random_images()
    smooth = torch.nn.functional.interpolate(pixels[:, :, :8, :8].float(), size=50, mode="bicubic")
    pixels, sizes = smooth.clamp(0, 255).to(torch.uint8), torch.full_like(sizes, 50)
    parameters = sample_parameters(augmentation, sizes, torch.arange(len(pixels)), seed=1, epoch=0, view=0)
    views = apply_augmentation(augmentation, parameters, pixels, sizes) * 255
    for i in range(len(pixels)):
        rounded = apply_torchvision(augmentation, parameters, pixels[i], i).float()
        assert (views[i] - rounded).abs().mean() < 3
        assert (views[i] - rounded).abs().max() < 12


@given(
    ids=st.lists(st.integers(0, 10**9), min_size=2, max_size=8, unique=True),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
)
def test_view_of_an_image_does_not_depend_on_its_batch(ids: list[int], seed: int, epoch: int) -> None:
    augmentation = Augmentation(size=6, crop="random", **EVERYTHING)
    pixels, sizes = random_images(8, largest=9)
    pixels, sizes = pixels[: len(ids)], sizes[: len(ids)]
    batch = Batch(pixels, sizes, torch.tensor(ids), torch.zeros(len(ids)))
    keys = {"seed": seed, "epoch": epoch, "view": 0, "mean": (0.5,), "std": (0.2,)}
    together = create_view(augmentation, batch, **keys)
    padded = torch.nn.functional.pad(pixels[-1:], (0, 7, 0, 3))
    alone = create_view(augmentation, Batch(padded, sizes[-1:], batch.ids[-1:], batch.labels[-1:]), **keys)
    torch.testing.assert_close(alone[0], together[-1], atol=1e-5, rtol=1e-5)


def test_parameters_sampled_ahead_give_the_same_views() -> None:
    augmentations = [Augmentation(size=6, crop="random", **EVERYTHING), Augmentation(size=6, crop="random", flip=0.5)]
    pixels, sizes = random_images(8, largest=9)
    batch = Batch(pixels, sizes, torch.arange(8), torch.zeros(8))
    keys = {"seed": 3, "epoch": 5}
    ahead = batch._replace(
        parameters=tuple(
            sample_parameters(augmentation, sizes, batch.ids, view=view, **keys)
            for view, augmentation in enumerate(augmentations)
        )
    )
    moved = ahead.to(torch.device("cpu")).pin_memory()
    for view, augmentation in enumerate(augmentations):
        views = [
            create_view(augmentation, each, view=view, mean=(0.5,), std=(0.2,), **keys)
            for each in (batch, ahead, moved)
        ]
        assert torch.equal(views[0], views[1])
        assert torch.equal(views[0], views[2])
    wrong = ahead._replace(parameters=ahead.parameters[::-1])
    assert not torch.equal(create_view(augmentations[0], wrong, view=0, mean=(0.5,), std=(0.2,), **keys), views[0])


def test_views_epochs_and_seeds_differ() -> None:
    augmentation, sizes, ids = Augmentation(size=8, crop="random"), torch.full((50, 2), 32), torch.arange(50)
    base = sample_parameters(augmentation, sizes, ids, seed=0, epoch=0, view=0).box
    for other in ({"seed": 1}, {"epoch": 1}, {"view": 1}):
        box = sample_parameters(augmentation, sizes, ids, **{"seed": 0, "epoch": 0, "view": 0, **other}).box
        assert (box == base).all(dim=1).float().mean() < 0.2


@given(order=st.permutations(range(8)), kept=st.integers(1, 8), view=st.integers(0, 9))
def test_parameters_do_not_depend_on_the_batch(order: list[int], kept: int, view: int) -> None:
    augmentation, ids, sizes = (
        Augmentation(size=6, crop="random", **EVERYTHING),
        torch.arange(8) * 10**8,
        random_images(8)[1],
    )
    chosen = torch.tensor(order[:kept])
    whole = sample_parameters(augmentation, sizes, ids, seed=0, epoch=0, view=view)
    part = sample_parameters(augmentation, sizes[chosen], ids[chosen], seed=0, epoch=0, view=view)
    for of_whole, of_part in zip(whole, part, strict=True):
        assert torch.equal(of_whole[chosen], of_part)


@pytest.mark.parametrize("shape", [(32, 32), (20, 60), (3, 64), (2, 500), (1, 1)])
def test_boxes_have_the_distribution_of_torchvision(shape: tuple[int, int]) -> None:
    n = 4000
    augmentation = Augmentation(size=8, crop="random", crop_scale=(0.2, 1.0))
    ours = sample_parameters(
        augmentation, torch.tensor([shape] * n), torch.arange(n), seed=0, epoch=0, view=0
    ).box.double()
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(8, scale=(0.2, 1.0))  # its 10 tries often fail on the long images
    image = torch.zeros(3, *shape)
    theirs_params = [transform.make_params([image]) for _ in range(n)]
    theirs = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in theirs_params]).double()
    inside = (ours[:, :2] >= 0).all(1) & (ours[:, :2] + ours[:, 2:] <= torch.tensor(shape)).all(1)
    assert inside.all()
    for measure in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
        a, b = measure(ours).sort().values, measure(theirs).sort().values
        values = torch.cat([a, b]).unique()
        distance = (torch.searchsorted(a, values, right=True) - torch.searchsorted(b, values, right=True)).abs().max()
        assert distance / n < 0.043  # two samples of one distribution, Kolmogorov-Smirnov at p = 0.001


def test_distribution_of_factors_order_and_probabilities() -> None:
    n = 24_000
    augmentation = Augmentation(size=8, crop="random", **{**EVERYTHING, "brightness": 1.5})
    p = sample_parameters(augmentation, torch.full((n, 2), 32), torch.arange(n), seed=0, epoch=0, view=0)
    for rate, happened in ((0.5, p.flip), (0.8, p.jitter), (0.2, p.grayscale), (0.5, p.blur), (0.3, p.solarize)):
        assert happened.float().mean().item() == pytest.approx(rate, abs=0.012)
    ranges = torch.tensor([[0, 2.5], [0.6, 1.4], [0.6, 1.4], [-0.1, 0.1]])
    torch.testing.assert_close(p.factors.amin(0), ranges[:, 0], atol=2e-3, rtol=0)
    torch.testing.assert_close(p.factors.amax(0), ranges[:, 1], atol=2e-3, rtol=0)
    torch.testing.assert_close(p.factors.mean(0), ranges.mean(1), atol=0.015, rtol=0)
    code = (p.order * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = code.unique(return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 1000).abs() < 160).all()  # five standard deviations
    assert p.sigma.min() >= 0.1
    assert p.sigma.max() <= 2.0
    assert p.sigma.mean().item() == pytest.approx(1.05, abs=0.012)
    assert p.angle.abs().max() <= 20
    assert p.angle.mean().item() == pytest.approx(0, abs=0.4)
    assert p.angle.std().item() == pytest.approx(20 / 3**0.5, abs=0.2)
    chances = torch.stack([p.flip, p.jitter, p.grayscale, p.blur, p.solarize]).float()
    assert (torch.corrcoef(chances) - torch.eye(5)).abs().max() < 0.03


def test_default_augmentation_is_a_deterministic_center_crop() -> None:
    pixels, sizes = random_images()
    batch = Batch(pixels, sizes, torch.arange(len(pixels)), torch.zeros(len(pixels)))
    augmentation = Augmentation(size=12)
    views = [create_view(augmentation, batch, seed=s, epoch=s, view=s, mean=(0.0,), std=(1.0,)) for s in (0, 1)]
    assert torch.equal(*views)


def test_views_are_normalized_by_channel() -> None:
    batch = Batch(
        torch.full((1, 3, 4, 4), 51, dtype=torch.uint8), torch.tensor([[4, 4]]), torch.tensor([0]), torch.zeros(1)
    )
    view = create_view(Augmentation(size=4), batch, seed=0, epoch=0, view=0, mean=(0.1, 0.2, 0.3), std=(0.1, 0.5, 1.0))
    torch.testing.assert_close(view[0, :, 0, 0], torch.tensor([1.0, 0.0, -0.1]))


INVALID = {
    "flip": (1.5, "flip = 1.5: input should be less than or equal to 1"),
    "hue": (0.6, "hue = 0.6: input should be less than or equal to 0.5"),
    "crop_scale": ((1.0, 0.2), "crop_scale = (1, 0.2): must be two positive numbers, the smaller one first"),
    "crop_ratio": ((0.0, 1.0), "crop_ratio = (0, 1): must be two positive numbers"),
    "blur_sigma": ((0.1, float("inf")), "blur_sigma.1 = inf: input should be a finite number"),
    "rotate": (-3, "rotate = -3: input should be greater than or equal to 0"),
    "blur_kernel": (4, "blur_kernel = 4: must be an odd number of taps"),
    "crop": ("middle", "crop = 'middle': input should be 'random', 'center' or 'squash'"),
}


@pytest.mark.parametrize("setting", INVALID)
def test_invalid_augmentation_is_a_one_line_error(setting: str) -> None:
    value, message = INVALID[setting]
    with pytest.raises(UserError) as error:
        Augmentation(**{setting: value})
    assert message in str(error.value)
