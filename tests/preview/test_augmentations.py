"""The figure of augmentations shows the views that training sees, and where they were cropped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from torchvision.transforms.v2 import functional

from sslzoo.cli import main
from sslzoo.data.images import EncodedImages
from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.preview.command import describe_augmentation
from sslzoo.preview.draw import WIDEST, draw_preview
from sslzoo.preview.sample import Preview, ViewSample, sample_preview
from sslzoo.report.plots import CLASSES
from sslzoo.runtime.launch import create_accelerator
from sslzoo.training.batches import TrainingBatches

PLAIN = [word for part in ("jitter", "grayscale", "blur") for word in (f"--augmentations.strong.{part}", "0")]
"""Flags of a view that is only cropped and resized."""


@pytest.fixture(autouse=True)
def separate_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path_factory.mktemp("sslzoo")))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty random color images of different sizes."""
    root = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(20):
        coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((60 + number, 50), Image.Resampling.BICUBIC).save(root / f"{number}.png")
    return root


@pytest.mark.parametrize("compiled", [False, True])
def test_preview_equals_the_first_views_of_training(compiled: bool) -> None:
    flags = ["--method", "ascl", "--compile-augmentations", str(compiled).lower(), "--seed", "3"]
    experiment = compose(flags)
    data = load_data(experiment.dataset)
    experiment = experiment.with_dataset(data.config)
    preview = sample_preview(experiment, data.train, 8, epoch=2)
    batches = TrainingBatches(experiment, data.train, create_accelerator("fp32"), torch.nn.Conv2d(1, 1, 3))
    batch = next(batches.load_epoch(2))
    mean, std = experiment.dataset.mean[0], experiment.dataset.std[0]
    assert [view.name for view in preview.views] == ["strong", "weak"]
    for view, trained in zip(preview.views, batches.create_views(batch, 2), strict=True):
        expected = (trained[:8] * std + mean).clamp(0, 1)
        assert torch.equal(torch.from_numpy(view.pixels), expected.permute(0, 2, 3, 1))
    for image, pixels in zip(preview.images, batch.pixels, strict=False):
        assert np.array_equal(image, pixels.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("crop", ["random", "center", "squash"])
def test_boxes_are_the_crops_of_the_views(crop: str, photographs: Path) -> None:
    flags = ["--method", "moco", "--dataset", "folder", "--dataset.path", str(photographs), "--img-size", "24"]
    more = ["--augmentations.strong.crop", crop, "--augmentations.strong.flip", "0", "--compile-augmentations", "false"]
    experiment = compose([*flags, *PLAIN, *more, "--augmentations.strong.crop-pct", "0.8"])
    data = load_data(experiment.dataset)
    preview = sample_preview(experiment.with_dataset(data.config), data.train, 8)
    for view in preview.views:
        for image, pixels, box in zip(preview.images, view.pixels, view.boxes, strict=True):
            top, left, height, width = np.rint(box).astype(int).tolist()
            assert 0 <= top <= top + height <= image.shape[0]
            assert 0 <= left <= left + width <= image.shape[1]
            whole = torch.from_numpy(image).permute(2, 0, 1).float() / 255
            cropped = functional.resized_crop(whole, top, left, height, width, [24, 24], antialias=True)
            difference = np.abs(cropped.permute(1, 2, 0).numpy() - pixels).mean()
            assert difference < 0.04  # a center crop rounds the size of the resized image


def test_only_the_drawn_images_are_decoded(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = EncodedImages.decode
    monkeypatch.setattr(EncodedImages, "decode", lambda self, at: (decoded.extend(at), decode(self, at))[1])
    words = ["--dataset", "folder", "--dataset.path", str(photographs), "--images", "3"]
    assert main(["augmentations", *words, "--output", str(tmp_path / "views.png")]) == 0
    assert len(decoded) == 3


def test_picture_has_a_column_for_each_view_and_the_crops(tmp_path: Path) -> None:
    black = np.zeros((2, 16, 16, 3), dtype=np.float32)
    boxes = np.array([[4, 4, 20, 20], [0, 0, 8, 8]], dtype=np.float32)
    sizes = {}
    for count in (2, 20):
        views = [ViewSample("strong", 16, black, boxes) for _ in range(count)]
        images = [np.full((32, 40, 3), 255, dtype=np.uint8)] * 2
        draw_preview(Preview(images, views), tmp_path / f"{count}.png", title="a title")
        figure = np.asarray(Image.open(tmp_path / f"{count}.png").convert("RGB"), dtype=np.float32) / 255
        sizes[count] = figure.shape
        dark = (figure.sum(axis=2) == 0).any(axis=0)  # columns of pixels in which a black view is drawn
        assert np.count_nonzero(np.diff(dark.astype(int)) == 1) >= count
        first = figure[:, : figure.shape[1] // (count + 1)]
        for color in CLASSES[: min(count, len(CLASSES)) - 1]:
            if count == 2:  # with 20 equal boxes only the last is visible
                assert (np.abs(first - to_rgb(color)).sum(axis=2) < 0.1).any() or color == CLASSES[0]
    assert sizes[20][1] <= 100 * WIDEST + 50
    assert list(tmp_path.glob("*.tmp")) == []


def test_command_names_the_picture_and_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["augmentations", "--method", "dino", "--epochs", "2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "strong 8 px, crop random, crop_scale 0.5 to 1," in shown
    assert "figure: augmentations-dino-digits.png" in shown
    assert Image.open("augmentations-dino-digits.png").format == "PNG"
    assert describe_augmentation(compose([]).augmentation("test")) == "8 px, center crop"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "error: --images 0: must be from 1 to 64"),
        (["--epoch", "-1"], "error: --epoch -1: must be 0 or above"),
        (["--output", "views.jpg"], "error: --output views.jpg: must end in .png"),
        (["--output", "no/views.png"], "error: --output no/views.png: cannot be written: No such file or directory"),
        (["--imges", "3"], "error: Unrecognized options: --imges, 3"),
    ],
)
def test_invalid_request_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["augmentations", *words]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert list(tmp_path.iterdir()) == []
