"""End-to-end tests of `run.py evaluate`: timm's weights, runs, files, protocols, output files and invalid input."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.models
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from sslzoo.cli import main
from sslzoo.data.load import load_data
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.encoder import create_encoder
from sslzoo.evaluation.images import get_labels
from sslzoo.evaluation.projector import add_projector
from sslzoo.evaluation.transform import choose_transform

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--threads", "1", "--quality-views", "2", "--dataset.limit", "200", "--dataset.test-limit", "100"]
ALL = ["--evaluation.labels-per-class", "None"]
QUICK = ["--evaluation.linear.epochs", "5", "--evaluation.augmented.epochs", "2", "--evaluation.fine-tune.epochs", "4"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache for each test."""
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random timm weights in a local folder with the layout of the hub, and with their own data config."""
    folder = tmp_path_factory.mktemp("weights") / "of a model"
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=7)
    cfg = {"input_size": (3, 40, 40), "crop_pct": 0.9, "interpolation": "bicubic", "mean": (0.4, 0.5, 0.6)}
    cfg |= {"std": (0.2, 0.3, 0.25), "num_classes": 7}
    timm.models.save_for_hf(model, str(folder), model_config={"pretrained_cfg": cfg}, safe_serialization=True)
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    small = ["--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--threads", "1", "--dataset.limit", "256"]
    words = ["--epochs", "1", "--batch-size", "32", "--method.queue-size", "64", "--schedule.warmup-epochs", "0"]
    more = ["--knn-every", "0", "--evaluation.draws", "2", "--evaluation.linear.epochs", "5", "--save-minutes", "0"]
    assert main([*words, *small, *more, "--run-folder", str(folder)]) == 0
    return folder


def read_result(folder: Path) -> dict[str, Any]:
    """Read result.json from a folder."""
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return content


def load_cached(cache: Path, images: int) -> np.ndarray:
    """Load the cached features of this number of images."""
    (found,) = [f for f in map(np.load, (cache / "features").glob("*.npy")) if len(f) == images]
    return found


def test_timms_weights_equal_scikit_learn(weights: str, tmp_path: Path, cache: Path, capsys: Any) -> None:
    words = ["evaluate", "--backbone", weights, "--pretrained", "--dataset.channels", "3", *SMALL, *ALL]
    words += ["--protocol", "knn", "logistic", "--evaluation.knn-k", "7", "--evaluation.knn-temperature", "0.1"]
    words += ["--evaluation.logistic.c", "1.0", "--folder", str(tmp_path / "result"), "--precision", "fp32"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert "40 px, crop center 0.9, bicubic, mean 0.4, 0.5, 0.6, std 0.2, 0.3, 0.25 (of the weights, by timm)" in output
    assert f"weights  {weights}, a test_resnet" in output
    job = compose_jobs(words[1:])[0][1]
    data = load_data(job.dataset)
    assert data.labeled is not None
    assert data.test is not None
    y, truth = get_labels(data.labeled).numpy(), get_labels(data.test).numpy()
    x, queries = load_cached(cache, 200).astype(np.float64), load_cached(cache, 100).astype(np.float64)

    encoder, _ = create_encoder(job, choose_transform(job))
    batch = data.test.gather(np.arange(100))
    expected = encoder.eval()(choose_transform(job)(batch)).detach().numpy()
    np.testing.assert_allclose(queries, expected, atol=1e-4)

    found = read_result(tmp_path / "result")["protocols"]
    knn = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.1))
    assert found["knn"]["knn"]["accuracy"] == pytest.approx(knn.fit(x, y).score(queries, truth))
    scaler = StandardScaler().fit(x)
    logistic = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(scaler.transform(x), y)
    score = logistic.score(scaler.transform(queries), truth)
    assert found["logistic"]["logistic"]["accuracy"] == pytest.approx(score)


def test_transform_agrees_with_that_of_timm(weights: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("ant", "bee"):
            (folder / split / label).mkdir(parents=True)
            for i in range(3):
                coarse = generator.integers(0, 255, (8, 9, 3), dtype=np.uint8)
                smooth = Image.fromarray(coarse).resize((70 + 9 * i, 60), Image.Resampling.BICUBIC)
                smooth.save(folder / split / label / f"{i}.png")
    words = ["--backbone", weights, "--pretrained", "--dataset", "folder", "--dataset.path", str(folder)]
    ((_, job),) = compose_jobs([*words, "--dataset.unlabeled", "false", "--dataset.test", "test"])
    data = load_data(job.dataset)
    assert data.test is not None
    job = job.model_copy(update={"dataset": data.config})
    ours = choose_transform(job)(data.test.gather(np.arange(6)))
    model = timm.create_model(weights, pretrained=True)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    files = sorted((folder / "test").rglob("*.png"))
    expected = torch.stack([theirs(Image.open(file)) for file in files])
    # PIL rounds to 8 bits after each of its two passes: a level is 1 / 255 / std
    assert (ours - expected).abs().max() < 3 / 255 / 0.2


def test_evaluation_of_a_run_equals_its_final_evaluation(run_folder: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(run_folder), "--threads", "1", "--folder", str(tmp_path / "result")]) == 0
    own = json.loads((run_folder / "summary.json").read_text())["test"]["trained"]
    found = read_result(tmp_path / "result")["protocols"]["standard"]
    assert {name: found[name] for name in ("knn", "linear")} == {name: own[name] for name in ("knn", "linear")}
    untrained = ["evaluate", "--untrained", "--threads", "1", "--dataset.limit", "256"]
    small = ["--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--evaluation.draws", "2", *QUICK[:2]]
    assert main([*untrained, *small, "--folder", str(tmp_path / "untrained")]) == 0
    own = json.loads((run_folder / "summary.json").read_text())["test"]["untrained"]
    assert read_result(tmp_path / "untrained")["protocols"]["standard"]["knn"] == own["knn"]


def test_protocols_run_in_the_given_order_and_the_representation_last(
    run_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["evaluate", str(run_folder), *SMALL, *QUICK, "--evaluation.draws", "2"]
    assert main([*words, "--folder", str(tmp_path / "a"), "--protocol", "representation", "logistic", "knn"]) == 0
    stages = [
        line.partition(":")[0]
        for line in capsys.readouterr().out.splitlines()
        if ": testing" in line or line.startswith("quality:")
    ]
    assert stages == ["logistic", "knn", "quality"]
    assert main([*words, "--folder", str(tmp_path / "b"), "--protocol", "logistic"]) == 0
    assert "quality:" not in capsys.readouterr().out


def test_result_folder_contains_all_files(run_folder: Path) -> None:
    words = ["evaluate", str(run_folder), "--threads", "1", *QUICK, "--evaluation.draws", "3"]
    assert main([*words, "--protocol", "representation", "few-shot"]) == 0
    (folder,) = (run_folder / "evaluations").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"config-few-shot.yaml", "environment.json", "result.json", "labels-few-shot.json"} <= names
    assert {"per-class-few-shot.csv", "confusion-few-shot-knn.csv", "confusion-few-shot-logistic.svg"} <= names
    labels = json.loads((folder / "labels-few-shot.json").read_text())
    assert [len(draw) for draw in labels["draws"]] == [50, 50, 50]
    assert not set(labels["held_out"]) & {label for draw in labels["draws"] for label in draw}
    found = read_result(folder)["protocols"]["few-shot"]
    assert found["how"].startswith(
        "labels: 5 of each class, 50, mean ± standard deviation of 3 draws; settings chosen on"
    )
    quality = read_result(folder)["quality"]
    assert (quality["images"], quality["view_images"], quality["views"]) == (500, 500, 10)
    assert 1 <= quality["effective_rank"] <= 8
    assert quality["purity"].keys() == {"1", "10"}
    knn = found["knn"]
    assert knn["interval"][0] <= knn["accuracy"] <= knn["interval"][1]
    assert knn["accuracy"] <= knn["top5"] <= 1
    lines = (folder / "per-class-few-shot.csv").read_text().splitlines()
    assert lines[0] == "class,knn,linear,logistic"
    assert len(lines) == 11


def test_features_are_extracted_once(run_folder: Path, tmp_path: Path, cache: Path, capsys: Any) -> None:
    words = ["evaluate", str(run_folder), "--threads", "1", *QUICK, "--output", str(tmp_path / "out")]
    assert main(words) == 0
    files = {path: path.stat().st_mtime_ns for path in (cache / "features").iterdir()}
    assert capsys.readouterr().out.count("extracting") == 2
    assert main(words) == 0
    assert capsys.readouterr().out.count("loaded from the cache") == 2
    assert {path: path.stat().st_mtime_ns for path in (cache / "features").iterdir()} == files
    assert main([*words, "--img-size", "10"]) == 0
    assert capsys.readouterr().out.count("extracting") == 2
    assert main([*words, "--dataset.test-limit", "50"]) == 0
    assert capsys.readouterr().out.count("extracting") == 1
    assert {path.suffix for path in (cache / "features").iterdir()} == {".npy", ".json"}


@pytest.mark.long
def test_protocols_that_run_the_encoder(run_folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(run_folder), *SMALL, *QUICK, "--folder", str(tmp_path / "result")]
    protocols = ["linear-augmented", "linear-ascl", "fine-tune", "semi-supervised-10"]
    assert main([*words, "--protocol", *protocols, "--evaluation.draws", "2"]) == 0
    found = read_result(tmp_path / "result")["protocols"]
    assert found["linear-augmented"]["augmented"]["chosen"].keys() == {"lr", "weight_decay"}
    assert found["linear-ascl"]["augmented"]["choice_accuracy"] is None
    assert found["fine-tune"]["fine-tune"]["chosen"]["lr"] in (3e-4, 1e-3)
    assert found["semi-supervised-10"]["labels"] == 20
    assert (tmp_path / "result" / "labels-semi-supervised-10.json").is_file()


def test_crops_and_layers_of_the_projector(run_folder: Path, tmp_path: Path, cache: Path) -> None:
    words = ["evaluate", str(run_folder), "--protocol", "knn", *SMALL, "--folder", str(tmp_path / "out")]
    words += ["--crops", "2", "--crop-augmentation", "weak", "--projector-layers", "1"]
    assert main(words) == 0
    result = read_result(tmp_path / "out")
    assert "8 px, mean of 2 crops by weak, seed 0" in result["transform"]
    assert result["weights"].endswith("; layers of the projector: 1")
    (job,) = (job for _, job in compose_jobs([str(run_folder)]))
    backbone, _ = create_encoder(job, choose_transform(job))
    saved = load_file(next((run_folder / "checkpoints").glob("step-*/model.safetensors")))
    weight = saved["student.projector.0.weight"]
    norm = [saved[f"student.projector.1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    head = add_projector(backbone.eval(), run_folder, 1).eval()
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        expected = torch.relu(F.batch_norm(backbone(images) @ weight.T, *norm))
        torch.testing.assert_close(head(images), expected)
        assert add_projector(backbone, run_folder, 2)(images).shape == (3, len(saved["student.projector.3.bias"]))
    assert load_cached(cache, 200).shape[1] == len(weight)


def test_transfer_uses_channels_and_normalization_of_the_run(run_folder: Path) -> None:
    ((_, job),) = compose_jobs([str(run_folder), "--dataset", "cifar10"])
    assert (job.dataset.path, job.dataset.channels, job.dataset.mean) == ("uoft-cs/cifar10", 1, (0.3059,))
    assert choose_transform(job).augmentation.size == 8
    assert job.evaluation.labels_per_class is None
    assert choose_transform(job).origin == "of the run"
    ((_, job),) = compose_jobs([str(run_folder), "--dataset", "cifar10", "--img-size", "32"])
    assert choose_transform(job).augmentation.size == 32


def test_weights_of_a_file_are_evaluated(tmp_path: Path, capsys: Any) -> None:
    model = timm.create_model("resnet10t", num_classes=5)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    words = ["evaluate", "--backbone", "resnet10t", "--dataset.channels", "3", "--backbone.stem", "standard", *SMALL]
    words += ["--checkpoint", str(tmp_path / "weights.safetensors"), "--protocol", "knn", "--img-size", "32"]
    assert main([*words, "--folder", str(tmp_path / "result")]) == 0
    total = len(model.state_dict())
    expected = f"weights.safetensors: {total - 2} of {total} tensors loaded; left out: fc.bias, fc.weight"
    assert read_result(tmp_path / "result")["weights"] == expected
    shown = capsys.readouterr().out
    assert "(of timm's resnet10t.c3_in1k, as the file states none;" in shown
    assert expected in shown


@pytest.mark.long
def test_two_processes_agree_with_one(run_folder: Path, tmp_path: Path) -> None:
    words = [
        "run.py",
        "evaluate",
        str(run_folder),
        *SMALL,
        *QUICK,
        "--protocol",
        "knn",
        "linear-augmented",
        "fine-tune",
        "representation",
    ]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, launch in (("one", []), ("two", launcher)):
        variables = environment | {"SSLZOO_CACHE": str(tmp_path / f"cache {name}")}
        command = [sys.executable, *launch, *words, "--folder", str(tmp_path / name), "--evaluation.draws", "2"]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = read_result(tmp_path / "one"), read_result(tmp_path / "two")
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["protocols"]["knn"] == two["protocols"]["knn"]
    for measure in ("effective_rank", "lidar", "alignment", "uniformity"):
        assert two["quality"][measure] == pytest.approx(one["quality"][measure], rel=1e-3)
    for protocol, classifier in (("linear-augmented", "augmented"), ("fine-tune", "fine-tune")):
        a, b = one["protocols"][protocol][classifier], two["protocols"][protocol][classifier]
        assert b["accuracy"] == pytest.approx(a["accuracy"], abs=0.05)  # rounding may decide a near tie


def test_saved_config_reproduces_the_result(run_folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(run_folder), *SMALL, "--protocol", "linear", *QUICK]
    assert main([*words, "--folder", str(tmp_path / "first")]) == 0
    saved = tmp_path / "first" / "config-linear.yaml"
    assert yaml.safe_load(saved.read_text())["evaluation"]["linear"]["epochs"] == 5
    again = ["evaluate", "--config", str(saved), "--folder", str(tmp_path / "again")]
    assert main(again) == 0
    a, b = (next(iter(read_result(tmp_path / name)["protocols"].values()))["linear"] for name in ("first", "again"))
    assert a == b


def test_images_without_labels_are_measured(run_folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.new("L", (9, 9), 12 * i).save(tmp_path / "images" / f"{i}.png")
    words = ["evaluate", str(run_folder), "--dataset", "folder", "--dataset.path", str(tmp_path / "images")]
    words += ["--threads", "1", "--protocol", "representation", "--folder", str(tmp_path / "result")]
    assert main(words) == 0
    found = read_result(tmp_path / "result")
    assert found["quality"]["images"] == found["test_images"] == 20
    assert found["quality"]["purity"] is None
    assert "protocols" not in found
    assert "Test accuracy" not in capsys.readouterr().out
    assert main([*words[:-2], "--quality", "false"]) == 2
    assert capsys.readouterr().err.startswith("error: evaluation.classifiers = []: leaves nothing to do; --quality")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def create_invalid_inputs(tmp_path: Path, run_folder: Path) -> dict[str, tuple[list[str], str]]:
    """Create invalid inputs: by name, the arguments and the first part of the error message."""
    other = tmp_path / "r34.safetensors"
    save_file(timm.create_model("resnet34", num_classes=0).state_dict(), other)
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    for i in range(4):
        for split in ("train", "test"):
            (tmp_path / "plain" / split).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), 30 * i).save(tmp_path / "plain" / split / f"{i}.png")
    unfinished = tmp_path / "unfinished"
    (unfinished / "checkpoints" / "step-00000008").mkdir(parents=True)
    (unfinished / "config.yaml").write_text((run_folder / "config.yaml").read_text())
    (unfinished / "checkpoints" / "step-00000008" / "model.safetensors").touch()
    plain = ["--dataset", "folder", "--dataset.path", str(tmp_path / "plain"), "--dataset.test", "test"]
    return {
        "another architecture": (
            [
                "--backbone",
                "resnet18",
                "--backbone.stem",
                "standard",
                "--checkpoint",
                str(tmp_path / "r34.safetensors"),
            ],
            f"error: --backbone.checkpoint {tmp_path}/r34.safetensors: ",
        ),
        "code in a pickle": (
            ["--backbone", "resnet18", "--checkpoint", str(tmp_path / "bomb.pth")],
            f"error: --backbone.checkpoint {tmp_path}/bomb.pth: ",
        ),
        "no labels": (
            ["--untrained", *plain, "--img-size", "16"],
            f"error: evaluate: {tmp_path}/plain (train) has no labels, which this protocol needs; "
            "--dataset.unlabeled false reads class folders",
        ),
        "an unfinished run": (
            [str(unfinished)],
            f"error: evaluate {unfinished}: the run is not finished, it has no backbone.safetensors; "
            f"--resume {unfinished} finishes it; `evaluate --backbone resnet10t_cifar --checkpoint ",
        ),
        "no run": (["nowhere"], "error: evaluate nowhere: not a run folder (it has no config.yaml)"),
        "fewer test classes": (
            ["--untrained", "--dataset.test-limit", "4"],
            "error: the test split has 4 of the 10 classes of train, none of ",
        ),
        "no weights": (["--backbone", "resnet18"], "error: evaluate: no weights for resnet18: name a run folder, or"),
        "two weights": (
            [str(run_folder), "--pretrained"],
            f"error: --pretrained: cannot be combined with the run folder {run_folder}",
        ),
        "a crop": (
            [str(run_folder), "--crops", "2", "--crop-augmentation", "weaker"],
            "error: --crop-augmentation weaker: no such augmentation; did you mean weak",
        ),
        "more layers than the projector has": (
            [str(run_folder), "--projector-layers", "9"],
            f"error: --projector-layers 9: the projector of {run_folder} has 2",
        ),
        "a projector without run": (
            ["--untrained", "--projector-layers", "1"],
            "error: --projector-layers 1: needs a run folder, whose checkpoint has the projector",
        ),
        "a protocol": (
            [str(run_folder), "--protocol", "liner"],
            "error: --protocol liner: no such protocol; did you mean linear",
        ),
        "a setting": (
            [str(run_folder), "--evaluation.knn-kk", "4"],
            "error: Unrecognized options: --evaluation.knn-kk, 4; did you mean --evaluation.knn-k?",
        ),
        "a top-level setting": (
            [str(run_folder), "--crop", "4"],
            "error: Unrecognized options: --crop, 4; did you mean --crops or ",
        ),
        "a warm-up without end": (
            [
                *(str(run_folder), "--protocol", "fine-tune", "--evaluation.fine-tune.epochs", "3"),
                *("--evaluation.fine-tune.schedule.warmup-epochs", "3"),
            ],
            "error: evaluation.fine_tune.schedule.warmup_epochs = 3: warm-up must be shorter than training, 3",
        ),
        "channels": (
            ["--backbone", "test_resnet", "--backbone.pretrained"],
            "error: --dataset.channels 1: test_resnet takes 3; --dataset.channels 3 converts the images",
        ),
        "a model": (["--backbone", "resnt18", "--pretrained"], "error: --backbone resnt18: timm "),
        "no labels of a class": (
            [str(run_folder), "--evaluation.labels-per-class", "100"],
            "error: evaluation.labels_per_class = 100: a class has only ",
        ),
        "a folder in use": (
            [str(run_folder), "--folder", str(run_folder)],
            f"error: --folder {run_folder}: is not empty; name another one",
        ),
    }


def test_invalid_input_prints_one_line_and_writes_nothing(run_folder: Path, tmp_path: Path, capsys: Any) -> None:
    before = sorted(run_folder.rglob("*"))
    out = tmp_path / "out"
    for name, (words, line) in create_invalid_inputs(tmp_path, run_folder).items():
        capsys.readouterr()
        output = [] if "--folder" in words else ["--output", str(out)]
        assert main(["evaluate", *words, "--threads", "1", *output]) == 2, name
        output = capsys.readouterr().err
        assert output.startswith(line), (name, output)
        assert output.count("\n") == 1, (name, output)
        assert not out.exists(), name
    assert sorted(run_folder.rglob("*")) == before
    assert not (tmp_path / "ran").exists()


def test_help_lists_the_protocols(capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--help"])
    assert stopped.value.code == 0
    output = capsys.readouterr().out
    for shown in ("semi-supervised-1", "--evaluation.knn-k", "--transform", "run.py evaluate RUN"):
        assert shown in output


def test_created_encoder_is_in_training_mode(run_folder: Path) -> None:
    ((_, job),) = compose_jobs([str(run_folder)])
    encoder, _ = create_encoder(job, choose_transform(job))
    assert isinstance(encoder, nn.Module)
    assert encoder.training
