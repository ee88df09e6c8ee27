"""Images of 13 bands, of 16-bit grayscale and of floating-point numbers, through the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file
from test_command import read_metrics, run
from test_kill import TWO

pytestmark = pytest.mark.long

FLAGS = [
    "--method", "ascl", "--dataset", "folder", "--backbone", "resnet10t", "--backbone.kwargs",
    "{channels: [8, 8, 8, 8]}", "--img-size", "24", "--epochs", "2", "--batch-size", "16", "--threads", "1",
    "--schedule.warmup-epochs", "0", "--method.queue-size", "64", "--evaluation.linear.epochs", "2",
]  # fmt: skip


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    """Two classes of images of 13 bands of 16 bits, which differ in one band."""
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for label in range(2):
            folder = tmp_path / "bands" / split / f"class-{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                image = random.integers(0, 3000, (13, 26, 22)).astype(np.uint16)
                image[6 * label] += 20000
                np.save(folder / f"{number}.npy", image)
    return tmp_path / "bands"


def test_images_of_13_bands_are_trained_on_evaluated_and_embedded(bands: Path, tmp_path: Path) -> None:
    data = [
        "--dataset.path",
        bands,
        "--dataset.unlabeled",
        "false",
        "--dataset.test",
        "test",
        "--dataset.rgb",
        "3",
        "2",
        "1",
    ]
    output = run(*FLAGS, *data, "--run-folder", tmp_path / "run").stdout
    assert "measuring mean and std of 48 training images, once" in output
    dataset = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["dataset"]
    assert (dataset["channels"], dataset["dtype"], dataset["range"]) == (13, "uint16", [0, 65535])
    images = np.stack([np.load(file) for file in sorted((bands / "train").rglob("*.npy"))]) / 65535
    np.testing.assert_allclose(dataset["mean"], images.mean(axis=(0, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(dataset["std"], images.std(axis=(0, 2, 3)), rtol=1e-3)
    assert load_file(tmp_path / "run" / "backbone.safetensors")["conv1.weight"].shape[1] == 13
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test"]["trained"]["knn"]["accuracy"] == 1
    assert (tmp_path / "run" / "augmentations.png").exists()

    run("evaluate", tmp_path / "run", "--protocol", "knn", "--output", tmp_path / "evaluation")
    run("embed", tmp_path / "run", "--images", bands / "test", "--output", tmp_path / "features.npz")
    assert (16, 8) in [array.shape for array in np.load(tmp_path / "features.npz").values()]
    run("search", "duplicates", tmp_path / "features.npz", "--folder", tmp_path / "search")


def test_13_bands_resume_with_the_measured_values(bands: Path, tmp_path: Path) -> None:
    data = ["--dataset.path", bands, "--dataset.unlabeled", "false"]
    run(*FLAGS, *data, "--run-folder", tmp_path / "run")
    output = run(*FLAGS, *data, "--run-folder", tmp_path / "run", "--resume", "auto").stdout
    assert "measuring" not in output


def test_two_processes_measure_and_train_on_13_bands_as_one(bands: Path, tmp_path: Path) -> None:
    data = ["--dataset.path", bands, "--dataset.unlabeled", "false", "--method.projector.norm", "none"]
    configs = []
    for name, launcher in {"one": (), "two": TWO}.items():
        cache = ["--dataset.cache-dir", tmp_path / f"cache-{name}"]
        run(*FLAGS, *data, *cache, "--run-folder", tmp_path / name, launcher=launcher)
        configs.append(yaml.safe_load((tmp_path / name / "config.yaml").read_text())["dataset"])
    assert all(configs[0][key] == configs[1][key] for key in ("channels", "dtype", "range", "mean", "std"))
    losses = [[line["loss"] for line in read_metrics(tmp_path / name) if "loss" in line] for name in ("one", "two")]
    assert losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("kind", ["16-bit PNG", "float .npy"])
def test_images_of_one_folder_are_trained_on_in_their_own_type(kind: str, tmp_path: Path) -> None:
    random, folder = np.random.default_rng(0), tmp_path / "images"
    folder.mkdir()
    for number in range(32):
        if kind == "16-bit PNG":
            Image.fromarray(random.integers(0, 65536, (24, 24)).astype(np.uint16)).save(folder / f"{number}.png")
        else:
            np.save(folder / f"{number}.npy", random.normal(-3, 10, (20, 20, 4)).astype(np.float32))
    run(*FLAGS, "--dataset.path", folder, "--run-folder", tmp_path / "run")
    dataset = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["dataset"]
    assert (dataset["channels"], dataset["dtype"]) == ((1, "uint16") if kind == "16-bit PNG" else (4, "float32"))
    assert all(0.2 < mean < 0.8 for mean in dataset["mean"])


def test_image_of_other_channels_among_13_bands_is_one_line(bands: Path, tmp_path: Path) -> None:
    np.save(bands / "train" / "class-0" / "0.npy", np.zeros((5, 20, 20), np.uint16))
    done = run(*FLAGS, "--dataset.path", bands, "--dataset.channels", "13", "--run-folder", tmp_path / "run", code=2)
    assert "error: " in done.stderr
    assert "the 13 channels of the data set" in done.stderr
    assert "Traceback" not in done.stderr
