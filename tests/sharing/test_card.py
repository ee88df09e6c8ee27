"""`card` writes a folder that timm loads with the features and the preprocessing of the run, and an honest card."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image
from torch import nn

from sslzoo.cli import main
from sslzoo.data.batch import Batch
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.transform import choose_transform
from sslzoo.experiment.compose import compose
from sslzoo.experiment.input_config import describe_input
from sslzoo.runtime.files import file_sha256

MakeRun = Callable[..., tuple[Path, nn.Module]]

RUNS = {
    "small grayscale ResNet": ["--method", "ascl", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}"],
    "small ResNet with max-pool": [
        "--method", "moco", "--dataset", "cifar10", "--backbone", "resnet10t", "--img-size", "48",
        "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--augmentations.test.crop-pct", "0.9",
    ],
    "vision transformer of another size": [
        "--method", "dino", "--dataset", "imagenette", "--backbone", "test_vit", "--img-size", "64",
        "--augmentations.test.interpolation", "bicubic", "--dataset.mean", "0.5", "--dataset.std", "0.25",
    ],
    "convolutional network": [
        "--method", "byol", "--dataset", "imagenette", "--backbone", "test_efficientnet", "--img-size", "96",
        "--backbone.kwargs", "{drop_path_rate: 0.1}",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_timm_loads_the_features_and_the_preprocessing_of_the_run(name: str, make_run: MakeRun) -> None:
    path, backbone = make_run(RUNS[name])
    assert main(["card", str(path)]) == 0
    loaded = timm.create_model(f"local-dir:{path}/hub", pretrained=True).eval()
    stated = describe_input(compose(["--config", str(path / "config.yaml")]))
    images = torch.randn(4, *stated["input_size"])
    with torch.inference_mode():
        assert torch.allclose(loaded(images), backbone(images), atol=1e-6, rtol=0)
    resolved = timm.data.resolve_data_config(model=loaded)
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in resolved.items()} == stated
    assert sorted(file.name for file in (path / "hub").iterdir()) == [
        "README.md", "config.json", "curves.png", "model.safetensors", "tsne.png",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["small grayscale ResNet", "vision transformer of another size"])
def test_timms_transform_of_the_folder_is_that_of_evaluate(name: str, make_run: MakeRun) -> None:
    path, _ = make_run(RUNS[name])
    assert main(["card", str(path)]) == 0
    loaded = timm.create_model(f"local-dir:{path}/hub", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=loaded))
    ours = choose_transform(compose_jobs([str(path)])[0][1])
    channels, size = loaded.pretrained_cfg["input_size"][0], 3 * loaded.pretrained_cfg["input_size"][1] // 2
    coarse = torch.randint(0, 256, (6, 5, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(coarse.squeeze().numpy()).resize((size + 7, size), Image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size, size + 7, channels)
    batch = Batch(
        pixels.permute(2, 0, 1)[None], torch.tensor([[size, size + 7]]), torch.tensor([0]), torch.tensor([-1])
    )
    difference = (ours(batch)[0] - transform(image)).abs() * torch.tensor(ours.std).view(-1, 1, 1)
    assert difference.max() < 2 / 255  # Pillow rounds to 8 bits


@pytest.mark.long
def test_folder_of_a_timm_model_needs_timm_only(make_run: MakeRun) -> None:
    path, _ = make_run(RUNS["vision transformer of another size"])
    assert main(["card", str(path)]) == 0
    load = f"timm.create_model({f'local-dir:{path}/hub'!r}, pretrained=True)"
    code = f"import sys, timm; {load}; assert 'sslzoo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=path)


@pytest.mark.long
@pytest.mark.parametrize("name", ["small grayscale ResNet", "vision transformer of another size"])
def test_code_on_the_card_runs_as_it_stands(name: str, make_run: MakeRun) -> None:
    path, backbone = make_run(RUNS[name])
    assert main(["card", str(path)]) == 0
    card = (path / "hub" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert ("import sslzoo.modules.backbones  # pip install sslzoo" in code) == name.startswith("small")
    Image.new("RGB", (70, 60), (200, 10, 90)).save(path / "hub" / "image.jpg")
    code = code.replace("hf-hub:OWNER/NAME", f"local-dir:{path}/hub") + "\nprint(tuple(features.shape))"
    done = subprocess.run([sys.executable, "-c", code], cwd=path / "hub", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"(1, {backbone.num_features})"


def test_card_states_method_scores_command_and_license(make_run: MakeRun) -> None:
    path, _ = make_run()
    (path / "evaluations" / "later").mkdir(parents=True)
    protocol = {"how": "labels: all", "linear": {"accuracy": 0.91, "std": None, "interval": [0.9, 0.92]}, "draws": 1}
    result = {"dataset": "cifar10", "protocols": {"linear-augmented": protocol}}
    (path / "evaluations" / "later" / "result.json").write_text(json.dumps(result))
    assert main(["card", str(path), "--license", "cc-by-4.0"]) == 0
    card = (path / "hub" / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["library_name"] == "timm"
    assert metadata["license"] == "cc-by-4.0"
    assert "ascl" in metadata["tags"]
    assert "datasets" not in metadata
    assert "| digits | trained | kNN | 84.7 ± 5.6 | 82.3 to 87.1 |" in body
    assert "| cifar10 | trained | linear probe (linear-augmented) | 91.0 | 90.0 to 92.0 |" in body
    assert "frozen backbone of the last epoch, 60 epochs" in body
    assert "Feng and Patras" in body
    assert "python run.py --method ascl --run-folder 'my run'" in body
    assert "sslzoo 0.2.0, torch 2.11, timm 1.0.31, commit c0ffee" in body
    assert "![Loss and held-out kNN accuracy over epochs](curves.png)" in body
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", body, flags=re.DOTALL)[1])
    assert config["method"]["name"] == "ascl"


def test_card_shows_no_path_of_this_machine_among_the_settings(make_run: MakeRun, tmp_path: Path) -> None:
    images = tmp_path / "patients"
    images.mkdir()
    flags = ["--dataset", "cifar10", "--dataset.path", str(images), "--dataset.cache-dir", str(tmp_path / "cache")]
    path, _ = make_run([*RUNS["small ResNet with max-pool"], *flags])
    assert main(["card", str(path)]) == 0
    card = (path / "hub" / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "datasets:" not in card


def test_data_set_of_the_hub_is_named(make_run: MakeRun) -> None:
    path, _ = make_run(RUNS["small ResNet with max-pool"])
    assert main(["card", str(path)]) == 0
    head = (path / "hub" / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(head)["datasets"] == ["uoft-cs/cifar10"]
    assert "license" not in head


def test_edited_card_is_kept(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = make_run()
    assert main(["card", str(path)]) == 0
    card = path / "hub" / "README.md"
    card.write_text("edited")
    assert main(["card", str(path)]) == 2
    assert "README.md exists; --overwrite replaces it, with its edits" in capsys.readouterr().err
    assert card.read_text() == "edited"
    assert main(["card", str(path), "--overwrite"]) == 0
    assert card.read_text() != "edited"


def test_invalid_requests_are_one_line(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = make_run()
    (path / "summary.json").rename(path / "summary.old")
    for words, message in (
        ([str(tmp_path)], f"error: card {tmp_path}: not a run folder (it has no config.yaml)"),
        ([str(path)], f"error: card {path}: the run is not finished, it has no summary.json; --resume {path} finishes"),
        ([str(path), "--license", "MIT or so"], "error: --license MIT or so: must be an identifier of the Hub"),
        ([str(path), "--licence", "mit"], "error: unrecognized arguments: --licence mit; did you mean --license?"),
        ([], "error: the following arguments are required: RUN"),
    ):
        assert main(["card", *words]) == 2
        assert capsys.readouterr().err.startswith(message)
    (path / "summary.old").rename(path / "summary.json")
    (path / "summary.json").write_text("{")
    assert main(["card", str(path)]) == 2
    assert "summary.json: not readable as JSON" in capsys.readouterr().err
    assert not (path / "hub").exists()


def test_weights_that_have_changed_are_not_shared(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = make_run(RUNS["small grayscale ResNet"])
    summary = json.loads((path / "summary.json").read_text())
    sums = {"backbone.safetensors": file_sha256(path / "backbone.safetensors")}
    (path / "summary.json").write_text(json.dumps(summary | {"sha256": sums}))
    assert main(["card", str(path)]) == 0
    content = bytearray((path / "backbone.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "backbone.safetensors").write_bytes(content)
    assert main(["card", str(path)]) == 2
    assert "backbone.safetensors: has changed since it was written (SHA-256 differs" in capsys.readouterr().err
