"""The transform of a checkpoint file: what the file states, else that of timm's weights, else that of the data set."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.transform import Transform, choose_transform
from sslzoo.experiment.compose import compose
from sslzoo.experiment.input_config import describe_input
from sslzoo.runtime.errors import UserError
from sslzoo.weights.export import export_backbone, read_input_config
from sslzoo.weights.read import read_metadata

IMAGENET_MEAN = (0.485, 0.456, 0.406)
HALF = (0.5, 0.5, 0.5)


def choose(name: str, file: Path, *flags: str, dataset: str = "imagenette") -> Transform:
    words = ["--backbone", name, "--checkpoint", str(file), "--dataset", dataset, *flags]
    return choose_transform(compose_jobs(words)[0][1])


def save(name: str, path: Path, prefix: str = "") -> Path:
    weights = {prefix + key: value for key, value in timm.create_model(name, num_classes=0).state_dict().items()}
    torch.save(weights, path)
    return path


def test_file_in_timms_layout_gets_the_transform_of_timms_weights(tmp_path: Path) -> None:
    file = save("tf_efficientnet_lite0", tmp_path / "own.pth")
    wanted = timm.data.resolve_model_data_config(timm.create_model("tf_efficientnet_lite0"))
    chosen = choose("tf_efficientnet_lite0", file)
    assert chosen.augmentation.size == wanted["input_size"][1] == 224
    assert chosen.augmentation.interpolation == wanted["interpolation"] == "bicubic"
    assert chosen.mean == wanted["mean"] == HALF
    assert chosen.augmentation.crop_pct == wanted["crop_pct"] == 0.875
    assert "of timm's tf_efficientnet_lite0.in1k, as the file states none; --transform dataset" in str(chosen)
    assert choose("tf_efficientnet_lite0", file, "--img-size", "64").augmentation.size == 64


@pytest.mark.parametrize(
    "flags",
    [
        ["--transform", "dataset"],
        ["--augmentations.test.interpolation", "bilinear"],
        ["--dataset.mean", "0.1", "0.2", "0.3"],
    ],
)
def test_flags_about_the_images_win(flags: list[str], tmp_path: Path) -> None:
    file = save("test_efficientnet", tmp_path / "own.pth")
    chosen = choose("test_efficientnet", file, *flags)
    assert chosen.origin == "of the data set's config"
    assert chosen.mean == ((0.1, 0.2, 0.3) if "--dataset.mean" in flags else IMAGENET_MEAN)


def test_file_of_another_project_keeps_the_images_of_the_data_set(tmp_path: Path) -> None:
    file = save("test_efficientnet", tmp_path / "moco.pth", prefix="module.encoder_q.")
    assert choose("test_efficientnet", file).origin == "of the data set's config"


def test_file_of_efficientnet_pytorch_gets_the_transform_of_timms_weights(tmp_path: Path) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "file.pth")
    chosen = choose("tf_efficientnet_lite0", tmp_path / "file.pth")
    assert (chosen.augmentation.size, chosen.mean) == (224, HALF)


def test_model_without_known_images_keeps_those_of_the_data_set(tmp_path: Path) -> None:
    file = save("resnet10t", tmp_path / "own.pth")
    assert choose("resnet10t", file, dataset="digits").origin == "of the data set's config"  # grayscale
    assert choose("resnet18", file, dataset="cifar10").augmentation.size == 32  # the small stem is not timm's
    assert "of timm's resnet18.a1_in1k" in choose("resnet18", file).origin


def test_file_of_a_run_states_its_images(tmp_path: Path) -> None:
    run = compose(["--dataset", "cifar10", "--img-size", "48", "--augmentations.test.interpolation", "bicubic"])
    stated = describe_input(run)
    path = tmp_path / "backbone.safetensors"
    model = timm.create_model("test_efficientnet", num_classes=0)
    export_backbone(model, path, name="test_efficientnet", arguments={}, input_config=stated)
    chosen = choose("test_efficientnet", path)
    assert (chosen.augmentation.size, chosen.augmentation.interpolation) == (48, "bicubic")
    assert (chosen.mean, chosen.std) == (run.dataset.mean, run.dataset.std)
    assert chosen.origin == "of backbone.safetensors"
    silent = tmp_path / "silent.safetensors"
    export_backbone(model, silent, name="test_efficientnet", arguments={})
    assert choose("test_efficientnet", silent).origin == "of the data set's config"


@pytest.mark.parametrize(
    "stated",
    ["", "[]", '{"input_size": [3, 32]}', '{"input_size": [3, 8, 8], "mean": [0], "std": [1], "crop_pct": "all"}'],
)
def test_invalid_statement_of_a_file_is_ignored(stated: str, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file({"weight": torch.zeros(1)}, path, metadata={"timm_input": stated})
    assert read_input_config(read_metadata(path)) is None
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    assert read_metadata(tmp_path / "damaged.safetensors") == {}


def test_statement_that_no_augmentation_supports_is_refused(tmp_path: Path) -> None:
    stated = describe_input(compose(["--dataset", "cifar10"])) | {"interpolation": "lanczos"}
    path = tmp_path / "backbone.safetensors"
    export_backbone(timm.create_model("test_vit", num_classes=0), path, name="x", arguments={}, input_config=stated)
    with pytest.raises(UserError, match=r"--backbone test_vit: needs lanczos interpolation, supported are"):
        choose("test_vit", path)
