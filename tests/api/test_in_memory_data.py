"""Data sets in memory: their kinds give equal images, and caches and resumed runs recognize them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Pillow
from short_runs import SETTINGS, read_weights
from torch.utils.data import IterableDataset, Subset, TensorDataset

import sslzoo
from sslzoo.api.arguments import find_data, open_data
from sslzoo.cli import main
from sslzoo.data.config import DatasetConfig
from sslzoo.data.load import Data, load_data
from sslzoo.data.memory import choose_image_size, hold_data

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 12, 10, 3)).astype(np.uint8)
LABELS = np.arange(48) % 3
FEATURES = Features(image=Image(), label=ClassLabel(names=["a", "b", "c"]))
OWN = SETTINGS | {"dataset": {}, "batch_size": 16, "epochs": 1, "knn_every": 1}


class Photos(torch.utils.data.Dataset):
    """A torch data set of PIL images, as those of torchvision."""

    classes = ["a", "b", "c"]

    def __init__(self, pixels: np.ndarray = PIXELS, labels: Any = LABELS) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Any:
        image = Pillow.fromarray(self.pixels[index])
        return image if self.labels is None else (image, int(self.labels[index]))


def create_table(pixels: np.ndarray = PIXELS) -> Dataset:
    """Create a table of `datasets`."""
    return Dataset.from_dict({"image": list(pixels), "label": LABELS[: len(pixels)].tolist()}, features=FEATURES)


def create_splits() -> DatasetDict:
    """Create a table of 36 images and one of 12."""
    table = create_table()
    return DatasetDict(train=table.select(range(36)), test=table.select(range(36, 48)))


CHANNELS_FIRST = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).copy())
KINDS: dict[str, Callable[[], Any]] = {
    "datasets": create_table,
    "formatted": lambda: create_table().with_format("torch"),
    "PIL": Photos,
    "subset": lambda: Subset(Photos(), range(48)),
    "uint8 tensors": lambda: TensorDataset(CHANNELS_FIRST, torch.from_numpy(LABELS)),
    "float tensors": lambda: TensorDataset(CHANNELS_FIRST / 255, torch.from_numpy(LABELS)),
    "list": lambda: [(image, int(label)) for image, label in zip(PIXELS, LABELS, strict=True)],
    "mappings": lambda: [{"image": i, "label": n} for i, n in zip(PIXELS, LABELS, strict=True)],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store decoded images in the folder of the test."""
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "cache"))


def load(data: object, **settings: Any) -> Data:
    """Load a data set as a training does."""
    with hold_data(data) as dataset:
        return load_data(DatasetConfig(**{"source": "memory", **dataset, **settings}))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gives_the_same_images_and_labels(kind: str) -> None:
    data = load(KINDS[kind](), test_share=0)
    pixels = data.train.gather(np.arange(48)).pixels
    assert torch.equal(pixels, CHANNELS_FIRST)
    assert data.train.labels is not None
    assert data.train.labels.tolist() == LABELS.tolist()
    assert data.classes == (["0", "1", "2"] if kind not in ("datasets", "formatted", "PIL") else ["a", "b", "c"])
    assert data.test is None


@pytest.mark.parametrize("kind", KINDS)
def test_identity_depends_on_the_content_only(kind: str) -> None:
    identities = []
    for data in (KINDS[kind](), KINDS[kind]()):
        with hold_data(data) as dataset:
            identities.append(dataset["path"])
    assert identities[0] == identities[1]


@pytest.mark.parametrize("change", ["pixel", "label", "order", "fewer"])
def test_identity_changes_with_the_content(change: str) -> None:
    pixels, labels = PIXELS.copy(), LABELS.copy()
    if change == "pixel":
        pixels[7, 0, 0, 0] ^= 1
    elif change == "label":
        labels[7] = 0
    elif change == "order":
        pixels, labels = pixels[::-1], labels[::-1]
    else:
        pixels, labels = pixels[:-1], labels[:-1]
    with hold_data(Photos()) as one, hold_data(Photos(pixels, labels)) as other:
        assert one["path"] != other["path"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", ["tensors", "arrays"])
def test_images_of_13_channels_keep_numbers_and_type(kind: str, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (6, 13, 20, 18)).astype(dtype)
    data = torch.from_numpy(pixels) if kind == "tensors" else list(pixels.transpose(0, 2, 3, 1))
    loaded = load(data)
    assert (loaded.config.channels, loaded.config.pixel_dtype) == (13, dtype)
    assert np.array_equal(loaded.train.gather(np.arange(6)).pixels.numpy(), pixels)


def test_grayscale_unlabeled_and_large_images_and_names_of_classes() -> None:
    gray = load(TensorDataset(CHANNELS_FIRST[:, :1]), channels=1, mean=[0.5], std=[0.5])
    assert torch.equal(gray.train.gather(np.arange(48)).pixels, CHANNELS_FIRST[:, :1])
    assert (gray.labeled, gray.classes) == (None, [])
    deep = [Pillow.fromarray(np.full((9, 9), value, dtype=np.uint16)) for value in (0, 257, 65535)]
    assert load(deep, channels=1, mean=[0.5], std=[0.5]).train.gather(np.arange(3)).pixels[:, 0, 0, 0].tolist() == [
        0, 1, 255,
    ]  # fmt: skip
    named = load([(PIXELS[0], "cat"), (PIXELS[1], None), (PIXELS[2], "ant")])
    assert (named.classes, named.train.labels.tolist()) == (["ant", "cat"], [1, -1, 0])


def test_splits_and_their_defaults() -> None:
    with hold_data(create_splits()) as dataset:
        assert (dataset["train"], dataset["test"]) == ("train", "test")
    with hold_data({"all": Photos(), "validation": create_table()}) as dataset:
        assert (dataset["train"], dataset["test"]) == ("train", "validation")
        with pytest.raises(sslzoo.UserError, match=r"--dataset.train train: no such split; .* has all, v"):
            load_data(DatasetConfig(source="memory", **dataset))
    with hold_data({"everything": Photos()}) as dataset:
        assert (dataset["train"], dataset["test"]) == ("everything", None)


def test_default_size_is_that_of_small_images() -> None:
    with hold_data(Photos()) as dataset:
        assert choose_image_size(dataset) == 10
    with hold_data([np.zeros((300, 400, 3), dtype=np.uint8)]) as dataset:
        assert choose_image_size(dataset) == 128


class Stream(IterableDataset):
    """A torch data set without positions."""

    def __iter__(self) -> Any:
        return iter(())


class RandomCrops(Photos):
    """A data set with a random transform."""

    def __getitem__(self, index: int) -> Any:
        return torch.rand(3, 8, 8), 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            Stream(),
            "data: train is a Stream; give a path, a name, a datasets.Dataset, or a torch data set with __len__",
        ),
        (create_table().to_iterable_dataset(), "data: train is an IterableDataset; read a stream by its name"),
        ([], "data (train): contains no images"),
        (RandomCrops(), "data (train): reading item 0 twice returns two images; remove random transforms"),
        ([(CHANNELS_FIRST[0] / 127 - 1, 0)], "item 0: has values from -1 to 1.01; pixels are in [0, 1]"),
        ([CHANNELS_FIRST[0].int()], "item 0: has type int32; pixels are uint8, uint16 or floating-point"),
        ([torch.zeros(17, 8, 8)], "item 0: has shape (17, 8, 8); an image is (C, H, W) with up to 16 channels"),
        ([np.zeros((8, 8, 17))], "item 0: has shape (8, 8, 17); an image is (H, W, C) with up to 16 channels"),
        ([PIXELS[0], "text"], "item 1: is a str, not a PIL image, tensor or array"),
        ([(PIXELS[0], 1, 2)], "item 0: has 3 parts; must be an image, or an image and a label"),
        ([(PIXELS[0], 0.5)], "item 0: has the label 0.5; must be the number or name of a class, or None"),
        ([(PIXELS[0], 1), (PIXELS[1], "b")], "data (train): some labels are numbers and some are texts"),
        ([{"img": PIXELS[0]}], "item 0: has no key `image`, only img"),
    ],
)
def test_invalid_data(data: object, message: str) -> None:
    with pytest.raises(sslzoo.UserError) as error, hold_data(data):
        pass
    assert message in str(error.value)


def interrupt(event: sslzoo.Event) -> None:
    """Send Ctrl-C to this process."""
    os.kill(os.getpid(), signal.SIGINT)


def test_training_evaluation_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = sslzoo.train(create_splits(), output=tmp_path / "whole", progress=False, **OWN)
    assert whole.config.img_size == 10
    assert whole.config.dataset.path.startswith("memory:")
    assert whole.summary["test"]["trained"]["knn"]["accuracy"] >= 0
    assert whole.evaluate("knn", progress=False).result["test_images"] == 12
    with pytest.raises(sslzoo.Interrupted):
        sslzoo.train(create_splits(), output=tmp_path / "run", progress=False, on_step=interrupt, **OWN)
    with pytest.raises(sslzoo.UserError, match="is a data set in memory, which only Python can pass: give the same"):
        sslzoo.train(resume=tmp_path / "run", progress=False)
    assert main(["--resume", str(tmp_path / "run")]) == 2
    assert "is a data set in memory, which only Python can pass" in capsys.readouterr().err
    changed = DatasetDict(create_splits(), test=create_table(PIXELS[:5]))
    with pytest.raises(sslzoo.UserError, match=r"settings or data have changed since step 1: .*test"):
        sslzoo.train(changed, resume=tmp_path / "run", progress=False)
    with pytest.raises(sslzoo.UserError, match=r"keeps its settings, but dataset\.limit was None and is now 20"):
        sslzoo.train(create_splits(), resume=tmp_path / "run", progress=False, dataset={"limit": 20})
    resumed = sslzoo.train(create_splits(), resume=tmp_path / "run", progress=False)
    assert resumed.summary["resumed_at_step"] == 1
    assert read_weights(resumed) == read_weights(whole)


def test_torch_data_and_datasets_train_the_same_weights(tmp_path: Path) -> None:
    runs = [
        sslzoo.train(data, output=tmp_path / str(number), progress=False, **OWN)
        for number, data in enumerate((create_table(), Photos()))
    ]
    assert read_weights(runs[0]) == read_weights(runs[1])


def write_files(folder: Path) -> Path:
    """Write the images as PNG files in folders of classes."""
    for index, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        path = folder / ("test" if index >= 36 else "train") / "abc"[label] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(pixels).save(path)
    return folder


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "digits")
    assert find_data("digits") == {"name": "digits"}
    assert find_data("./digits") == find_data(Path("digits")) | {"path": "./digits"}
    assert find_data(Path("digits")) == {"name": "folder", "path": "digits"}
    assert find_data("owner/name") == {"name": "folder", "path": "owner/name", "unlabeled": False}
    assert find_data("cifr10") == {"name": "cifr10"}
    with open_data("cifar10", {"dataset": {"test-limit": 5}}) as layer:
        assert layer == {"dataset": {"name": "cifar10", "test_limit": 5}}


def test_folder_trains_as_on_the_command_line(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "images")
    given = OWN | {"dataset": {"unlabeled": False, "test": "test"}, "img_size": 10}
    run = sslzoo.train(folder, output=tmp_path / "run", progress=False, **given)
    config = sslzoo.compose(
        [
            "--dataset",
            "folder",
            "--dataset.path",
            str(folder),
            "--dataset.unlabeled",
            "false",
            "--dataset.test",
            "test",
        ],
        {**OWN, "img_size": 10, "run_folder": run.path, "dataset": {}},
    )
    assert run.config.as_yaml() == config.resolve_auto("fp32", True).restore_auto(run.config).as_yaml()
    assert run.summary["test"]["trained"]["knn"]["accuracy"] >= 0
