"""End-to-end tests of the command line, on the digits."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import sslzoo.modules.backbones  # noqa: F401  (registers resnet10t_cifar)
from sslzoo.runtime.precision import choose_precision

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--threads", "1", "--dataset.limit", "256", "--batch-size", "32",
    "--schedule.warmup-epochs", "0", "--log-every", "1", "--knn-every", "1", "--evaluation.draws", "2",
    "--evaluation.linear.epochs", "5",
]  # fmt: skip
MOCO = ["--method.queue-size", "128"]
TOKEN = "secret-of-a-user"
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1", "COLUMNS": "200",
}  # fmt: skip

Result = subprocess.CompletedProcess[str]


def run(*arguments: str | Path, launcher: tuple[str, ...] = (), code: int = 0, **environment: str) -> Result:
    """Run `python run.py ...`, optionally through another launcher, and check its exit status."""
    words, variables = [sys.executable, *launcher, "run.py", *map(str, arguments)], ENVIRONMENT | environment
    done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read the lines of metrics.jsonl without time and speed."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("images_per_second", "seconds")} for line in lines
    ]


def load_last_state(folder: Path) -> dict[str, torch.Tensor]:
    """Load weights, queue and teacher from the newest checkpoint."""
    return load_file(max((folder / "checkpoints").glob("step-*")) / "model.safetensors")


def last_step(folder: Path) -> int:
    """Return the step of the newest checkpoint."""
    return max(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run of three epochs, in a folder with spaces and non-ASCII letters in its name, and its output."""
    folder = tmp_path_factory.mktemp("runs") / "with space and ü"
    words = ["--method", "ascl", "--epochs", "3", "--run-folder", folder, *TINY, *MOCO]
    return folder, run(*words, HF_TOKEN=TOKEN, WANDB_API_KEY=TOKEN).stdout


def test_tokens_are_written_to_no_file(finished: tuple[Path, str]) -> None:
    folder, output = finished
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in output


def test_summary_contains_the_checksums_of_the_other_files(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    sums = json.loads((folder / "summary.json").read_text())["sha256"]
    assert {"backbone.safetensors", "config.yaml", "environment.json", "metrics.jsonl", "curves.png"} <= sums.keys()
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == found for name, found in sums.items())


def test_run_folder_contains_all_files(finished: tuple[Path, str]) -> None:
    folder, output = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.yaml", "environment.json", "metrics.jsonl", "summary.json", "backbone.safetensors", "checkpoints",
        ".lock",
        "curves.png", "curves.svg", "tsne.png", "tsne.svg", "augmentations.png",
    }  # fmt: skip
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")
    assert environment["command"][:3] == ["run.py", "--method", "ascl"]
    assert len((environment["commit"] or 40 * "?").removesuffix("-dirty")) == 40
    for shown in ("trained", "untrained", "raw pixels", "kNN", "ETA", "images/s", "confidence", "extra_mass"):
        assert shown in output


@pytest.mark.long
def test_config_contains_the_resolved_auto_settings(finished: tuple[Path, str]) -> None:
    folder, output = finished
    precision = choose_precision("auto", torch.device("cpu"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["precision"], config["compile_augmentations"]) == (precision, True)
    assert f"device  cpu, {precision} (auto), processes: 1" in output
    resumed = run("--resume", folder, "--precision", "auto", "--compile-augmentations", "auto").stdout
    assert f"device  cpu, {precision}, processes: 1" in resumed
    stderr = run("--resume", folder, "--precision", "fp16", code=2).stderr
    assert f"a resumed run keeps its settings, but precision was {precision} and is now fp16" in stderr


def test_metrics_cover_every_step_and_every_knn_evaluation(finished: tuple[Path, str]) -> None:
    lines = read_metrics(finished[0])
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 25))
    assert [line["epoch"] for line in lines if "knn" in line] == [1, 2, 3]
    last = [line for line in lines if "loss" in line][-1]
    assert {"confidence", "extra_mass", "positive_weight", "embedding_std", "effective_rank", "lr"} <= last.keys()


def test_summary_contains_scores_cost_and_neighbors(finished: tuple[Path, str]) -> None:
    summary = json.loads((finished[0] / "summary.json").read_text())
    assert summary["test"].keys() == {"trained", "untrained", "raw pixels (8 px)"}
    for scores in summary["test"].values():
        assert 0 <= scores["knn"]["accuracy"] <= 1
        assert scores["draws"] == 2
    assert "one-directional" in summary["protocol"]
    assert summary["processes"] == 1
    seconds = [json.loads(line).get("seconds", 0) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    assert summary["train_seconds"] == pytest.approx(sum(seconds), abs=0.06)
    assert summary["images_per_second"] == pytest.approx(24 * 32 / sum(seconds), rel=0.01)
    assert 50e6 < summary["peak_memory"]["host"] < 50e9
    assert summary["peak_memory"]["device"] is None
    neighbors = summary["neighbors"]
    assert 0 < neighbors["extra_mass"] <= 20
    assert neighbors["chance"] == pytest.approx(0.1, abs=0.03)
    assert neighbors["chance"] < neighbors["same_class"] <= 1


def test_timm_loads_the_exported_backbone(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    path = folder / "backbone.safetensors"
    model = timm.create_model("resnet10t_cifar", in_chans=1, num_classes=0, channels=[8, 8, 8, 8], checkpoint_path=path)
    saved = {
        k.removeprefix("student.backbone."): v for k, v in load_last_state(folder).items() if "student.backbone." in k
    }
    assert model.state_dict().keys() == load_file(path).keys() == saved.keys()
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())


@pytest.mark.long
def test_saved_config_reproduces_the_run(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = finished
    run("--config", folder / "config.yaml", "--run-folder", tmp_path / "again")
    assert read_metrics(tmp_path / "again") == read_metrics(folder)
    first, again = load_last_state(folder), load_last_state(tmp_path / "again")
    assert all(torch.equal(first[key], again[key]) for key in first)
    results = [json.loads((f / "summary.json").read_text())["test"] for f in (folder, tmp_path / "again")]
    assert results[0] == results[1]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_interrupted_run_resumes_bit_identically(
    finished: tuple[Path, str], tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "cut"
    words = [sys.executable, "run.py", "--method", "ascl", "--epochs", "3", "--run-folder", str(folder), *TINY, *MOCO]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (folder / "metrics.jsonl").is_file() and '"step": 3' in (folder / "metrics.jsonl").read_text())
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "saved; --resume" in stderr
    assert "Traceback" not in stderr
    assert 3 <= last_step(folder) < 24
    run("--resume", folder)
    assert read_metrics(folder) == read_metrics(finished[0])
    whole, resumed = load_last_state(finished[0]), load_last_state(folder)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.long
def test_run_stopped_during_the_final_evaluation_repeats_it(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    words = [sys.executable, "run.py", "--method", "ascl", "--epochs", "3", "--run-folder", str(folder), *TINY, *MOCO]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for((folder / "backbone.safetensors").is_file)  # the first file written after training
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert stderr.strip().endswith(
        f"stopped during the final evaluation, training is saved; --resume {folder} repeats the evaluation"
    )
    assert not (folder / "summary.json").exists()
    run("--resume", folder)
    assert read_metrics(folder) == read_metrics(finished[0])
    results = [json.loads((f / "summary.json").read_text())["test"] for f in (folder, finished[0])]
    assert results[0] == results[1]


@pytest.mark.long
def test_nonfinite_loss_ends_the_run_and_is_not_saved(tmp_path: Path) -> None:
    settings = ["--optimizer", "sgd", "--optimizer.lr", "1e30", "--log-every", "100", "--save-minutes", "0"]
    stderr = run("--method", "moco", "--epochs", "2", "--run-folder", tmp_path / "run", *TINY, *settings, code=2).stderr
    assert re.fullmatch(
        r"error: step \d+: the .* is NaN or Inf; start a new run with optimizer.lr below 1e\+30; "
        rf"the last good checkpoint is step \d+ in {tmp_path}/run\n",
        stderr,
    )
    assert "Traceback" not in stderr
    assert (tmp_path / "run" / "checkpoints").is_dir()
    assert all(value.isfinite().all() for value in load_last_state(tmp_path / "run").values())


@pytest.mark.long
def test_accumulation_trains_on_every_image_in_fewer_steps(tmp_path: Path) -> None:
    run("--method", "byol", "--epochs", "1", "--accumulate", "4", "--run-folder", tmp_path / "run", *TINY)
    assert [line["step"] for line in read_metrics(tmp_path / "run") if "loss" in line] == list(range(1, 9))


@pytest.mark.long
@pytest.mark.parametrize("target", ["one-hot", "hard", "adaptive-hard"])
@pytest.mark.parametrize("method", ["moco", "byol"])
def test_targets_train_from_the_command_line(method: str, target: str, tmp_path: Path) -> None:
    only = ["--knn-every", "0", "--dataset.test", "None", "--dataset.test-share", "0"]
    run("--method", method, "--target", target, "--epochs", "1", "--run-folder", tmp_path / "run", *TINY, *only)
    losses = [line["loss"] for line in read_metrics(tmp_path / "run") if "loss" in line]
    assert len(losses) == 8
    assert all(0 <= loss < 20 for loss in losses)


@pytest.mark.long
def test_method_without_pairs_is_trained_and_evaluated(tmp_path: Path) -> None:
    stdout = run("--method", "barlow-twins", "--epochs", "1", "--run-folder", tmp_path / "run", *TINY).stdout
    assert "method  barlow-twins, views blurred + solarized, symmetric\n" in stdout
    assert "1 epoch, symmetric loss; " in stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["method"], summary["target"], summary["loss"]) == ("barlow-twins", None, None)
    assert summary["directions"] == "symmetric"
    assert "neighbors" not in summary
    assert "kNN" in run("evaluate", tmp_path / "run", "--protocol", "knn").stdout


@pytest.mark.long
def test_two_processes_end_in_the_same_state_and_agree_with_one_process(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    # batch norm in the projector would normalize each process's half; that of the backbone uses the same groups
    arguments = ["--method", "ascl", "--epochs", "2", *TINY, *MOCO, "--method.projector.norm", "none"]
    arguments += ["--precision", "fp32"]
    run(*arguments, "--run-folder", tmp_path / "one")
    output = run(*arguments, "--run-folder", tmp_path / "two", launcher=launcher).stdout
    assert "processes: 2" in output
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert summary["processes"] == 2
    assert len(summary["state_digests"]) == 2
    assert len(set(summary["state_digests"])) == 1
    # the first losses agree up to rounding; training amplifies rounding later
    one = [line["loss"] for line in read_metrics(tmp_path / "one") if "loss" in line]
    two = [line["loss"] for line in read_metrics(tmp_path / "two") if "loss" in line]
    assert len(one) == len(two)
    assert two[:3] == pytest.approx(one[:3], rel=1e-5)
    assert two == pytest.approx(one, rel=0.02)


@pytest.mark.long
def test_unlabeled_images_are_trained_on_and_not_scored(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "holiday"
    folder.mkdir(parents=True)
    for i in range(24):
        mode = ("RGB", "L", "RGBA")[i % 3]
        Image.new(mode, (20 + i, 30), 5 * i).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes((folder / "23.png").read_bytes()[:60])
    done = run(
        "--dataset", "folder", "--dataset.path", tmp_path / "images", "--epochs", "1", "--batch-size", "8",
        "--method.split-bn", "2", "--method.queue-size", "16", "--img-size", "16", "--schedule.warmup-epochs", "0",
        "--dataset.cache-dir", tmp_path / "cache", "--backbone", "resnet10t", "--backbone.kwargs",
        "{channels: [8, 8, 8, 8]}", "--threads", "1", "--run-folder", tmp_path / "run", "--dataset.max-skipped", "3",
    )  # fmt: skip
    assert "24 images to train on, no labels" in done.stdout
    assert done.stdout.count("warning: 1 image is skipped (--dataset.max-skipped 3): ") == 2
    assert "(not scored: there are no labeled images to learn from (--dataset.labeled))" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test"] == {}
    assert [f"({folder / 'broken.png'})" in name for name in summary["skipped"]] == [True]
    assert (tmp_path / "run" / "backbone.safetensors").is_file()


@pytest.mark.long
def test_vision_transformer_trains_with_adamw_in_bf16(tmp_path: Path) -> None:
    run(
        "--method", "moco", "--backbone", "test_vit", "--img-size", "32", "--optimizer", "adamw", "--precision", "bf16",
        "--epochs", "1", "--run-folder", tmp_path / "run", *TINY[2:], *MOCO,
    )  # fmt: skip
    assert len(read_metrics(tmp_path / "run")) > 8


INVALID = {
    "--methd ascl": "error: Unrecognized options: --methd, ascl; did you mean --method?",
    "--method.queue-size many": "error: --method.queue-size: 'many' is not a whole number",
    "--config nowhere.yaml": "error: --config nowhere.yaml: no such file",
    "--dataset cifar10 --dataset.path ./nowhere": "error: --dataset.path ./nowhere: ",
    "--dataset.train trian": "error: --dataset.train trian: no such split; digits has train, test",
    "--batch-size 4096 --method.split-bn 1": "error: --batch-size 4096: ",
    "--backbone resnt18": "error: --backbone resnt18: timm ",
    "--backbone.checkpoint nowhere.safetensors": "error: --backbone.checkpoint nowhere.safetensors: no such file",
    "--backbone vit_tiny_patch16_224 --backbone.stem small": "error: --backbone.stem small: ",
    "--evaluation.labels-per-class 100 --dataset.limit 256": "error: evaluation.labels_per_class = 100: ",
    "--resume nowhere": "error: --resume nowhere: not a run folder",
    "--schedule.warmup-epochs 60": "error: schedule.warmup_epochs = 60: warm-up must be shorter than training",
    "describe asl": "error: describe asl: no part has that name; did you mean ascl?",
    "pretran": "error: pretran: no such command; did you mean pretrain?",
}


@pytest.mark.long
def test_precision_other_than_the_launchers_is_refused(tmp_path: Path) -> None:
    stderr = run("--precision", "fp32", "--output", tmp_path, code=2, ACCELERATE_MIXED_PRECISION="bf16").stderr
    assert "error: --precision fp32: `accelerate launch` is set to bf16; use the same value for both" in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("arguments", INVALID)
def test_invalid_input_prints_one_line_and_creates_no_run(arguments: str, tmp_path: Path) -> None:
    output = ["--output", str(tmp_path)] if arguments.startswith("--") else []
    done = run(*arguments.split(), *output, code=2)
    assert done.stderr.strip().splitlines()[-1].startswith(INVALID[arguments])
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nonempty_folder_is_not_changed(finished: tuple[Path, str]) -> None:
    before = sorted(path.name for path in finished[0].rglob("*"))
    done = run("--run-folder", finished[0], "--epochs", "1", *TINY, code=2)
    assert "is not empty; --resume" in done.stderr
    assert sorted(path.name for path in finished[0].rglob("*")) == before


def test_list_and_describe_print_parts() -> None:
    listed = run("list").stdout
    for name in ("ascl", "moco", "byol", "adaptive-soft", "cross-entropy", "cifar10", "folder"):
        assert name in listed
    described = run("describe", "ascl").stdout
    assert "--method.queue-size" in described
    assert "2207.11163" in described


@pytest.mark.long
def test_printed_config_reproduces_itself(tmp_path: Path) -> None:
    printed = run("--method", "moco", "--target", "hard", "--print-config").stdout
    assert yaml.safe_load(printed)["target"]["name"] == "hard"
    (tmp_path / "config.yaml").write_text(printed)
    assert run("--config", tmp_path / "config.yaml", "--print-config").stdout == printed


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it does not hold within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


@pytest.mark.long
def test_resume_auto_starts_and_resumes_a_run(finished: tuple[Path, str], tmp_path: Path) -> None:
    words = ["--method", "ascl", "--epochs", "3", "--output", str(tmp_path), "--resume", "auto", *TINY, *MOCO]
    process = subprocess.Popen(
        [sys.executable, "run.py", *words], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: any('"step": 3' in file.read_text() for file in tmp_path.glob("*/metrics.jsonl")))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    (folder,) = tmp_path.iterdir()
    other = run(*words, "--seed", "1", "--epochs", "1").stdout
    assert str(folder) not in other
    assert "step 24/24" in run(*words).stdout
    assert read_metrics(folder) == read_metrics(finished[0])
    assert len(list(tmp_path.iterdir())) == 2
    stderr = run(*words, "--run-folder", folder, "--epochs", "4", code=2).stderr
    assert f"--resume {folder}: a resumed run keeps its settings, but epochs was 3 and is now 4" in stderr


@pytest.mark.long
def test_training_continues_when_the_folder_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["--method", "moco", "--epochs", "2", "--run-folder", str(folder), *TINY, *MOCO, "--save-minutes", "0"]
    process = subprocess.Popen(
        [sys.executable, "run.py", *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (folder / "checkpoints").is_dir())
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("a file where the folder was")
    assert process.stdout is not None
    printed = ""
    while "waiting until the checkpoint can be written" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT, stderr
    assert "cannot write metrics.jsonl" in printed
    assert printed.count("cannot write a checkpoint") == 1
    assert "epoch 2/2" in printed
    assert re.fullmatch(rf"stopped at step 16 of 16, NOT saved \(.*\); no checkpoint yet in {folder}\n", stderr)
