"""Training stops early when the kNN accuracy no longer improves, also after a resume, and ends as a finished run."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from test_command import run
from test_resume import FLAGS, StopAfter, create_loop

from sslzoo.check.tiny import TinyBackbone
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError
from sslzoo.training.early_stop import find_early_stop
from sslzoo.training.loop import TrainingLoop
from sslzoo.training.stop import Interrupted

SCORES = [0.5, 0.7, 0.6, 0.7, 0.9, 0.95]
"""kNN accuracy after each epoch: with a patience of two, training stops after the fourth."""


@pytest.mark.parametrize(
    ("scores", "patience", "stops"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.5], 2, True),
        ([0.5, 0.4, 0.6, 0.5], 2, False),
        ([0.5, 0.4, 0.3, 0.2], 0, False),
    ],
)
def test_training_stops_after_evaluations_without_a_new_best(scores: list[float], patience: int, stops: bool) -> None:
    records = [{"step": 3 * n, "epoch": float(n), "knn": score} for n, score in enumerate(scores)]
    loss = [{"step": 1, "epoch": 0.5, "loss": 4.0}]
    assert (find_early_stop([*loss, *records], patience, epochs=9) is not None) == stops


def test_last_epoch_is_no_early_stop() -> None:
    records = [{"epoch": 1.0, "knn": 0.5}, {"epoch": 2.0, "knn": 0.4}]
    assert find_early_stop(records, 1, epochs=2) is None
    stop = find_early_stop(records, 1, epochs=60)
    assert stop is not None
    assert stop.describe() == "stopped of 60, after 1 kNN evaluation without gain on 50.0 % in epoch 1"


def train(folder: Path, scores: Sequence[float], stop_after: int = 0) -> TrainingLoop:
    """Start or resume a run of six epochs with four steps each, whose kNN accuracies are given."""
    flags = ["--epochs", "6", "--knn-every", "1", "--stop-after-no-gain", "2"]
    training = create_loop(compose([*FLAGS, *flags]), folder)
    training.evaluate_knn = lambda _: scores[training.epochs_done - 1]
    with StopAfter(stop_after) as stop:
        training.run(stop)
    return training


@pytest.mark.parametrize("cut", [6, 14, 16])
def test_resumed_run_stops_after_the_same_epoch(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.training.setup.create_backbone", lambda *_, **__: TinyBackbone())
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = train(tmp_path / "whole", SCORES)
    assert (whole.epochs_done, whole.step) == (4, 16)
    assert whole.early_stop is not None
    assert (whole.early_stop.best_epoch, whole.early_stop.best_knn) == (2, 0.7)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", SCORES, stop_after=cut)
    resumed = train(tmp_path / "cut", SCORES)
    assert resumed.early_stop == whole.early_stop
    again = train(tmp_path / "cut", SCORES)  # killed after the stop, during the final evaluation
    assert again.early_stop == whole.early_stop
    states = [training.method.state_dict() for training in (whole, again)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_early_stop_needs_knn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stop_after_no_gain = 2: needs kNN evaluations, but knn_every is 0"):
        compose(["--stop-after-no-gain", "2", "--knn-every", "0"])


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of images for each digit, and no splits."""
    root = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    for number in range(300):
        folder = root / str(digits.target[number])
        folder.mkdir(exist_ok=True)
        pixels = (digits.images[number] * 15).astype(np.uint8)
        Image.fromarray(pixels).resize((16, 16)).save(folder / f"{number}.png")
    return root


@pytest.mark.long
def test_labeled_folder_is_trained_on_until_knn_stops_and_is_scored(digits_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    data = ["--dataset.path", digits_folder, "--dataset.cache-dir", tmp_path / "cache"]
    small = [
        "--img-size", "8", "--batch-size", "64", "--epochs", "30", "--knn-every", "1", "--method.queue-size", "64",
        "--backbone", "resnet10t", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--evaluation.linear.epochs", "5",
        "--threads", "1", "--method.split-bn", "1",
    ]  # fmt: skip
    labeled = ["--dataset", "folder", *data, "--dataset.unlabeled", "false"]
    stdout = run(*labeled, *small, "--stop-after-no-gain", "1", "--run-folder", folder).stdout
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["epochs"] < 30
    assert summary["early_stop"]["requested_epochs"] == 30
    assert summary["early_stop"]["best_epoch"] == summary["epochs"] - 1
    assert f"epoch {summary['epochs']}/30  stopped of 30, after 1 kNN evaluation without gain" in stdout
    assert summary["held_out_test"] == {"share": 0.2, "seed": 0, "by": "file name"}
    assert "to test on (20 % of the labeled images, held out by file name and seed 0)" in stdout
    assert "trained" in summary["test"]
    assert f"python run.py evaluate {folder}" in " ".join(stdout.split())

    stdout = run("evaluate", folder, "--protocol", "knn").stdout
    (result,) = (folder / "evaluations").glob("*/result.json")
    evaluated = json.loads(result.read_text())
    assert evaluated["held_out_test"] == "20 % of the labeled images, held out by file name and seed 0"
    assert evaluated["protocols"]["knn"]["knn"]["accuracy"] == summary["test"]["trained"]["knn"]["accuracy"]

    seen = run("evaluate", folder, "--protocol", "knn", "--dataset.test-seed", "1", "--folder", tmp_path / "seen")
    assert "by file name and seed 1; the run trained on some or all of them)" in " ".join(seen.stdout.split())

    unlabeled = ["--dataset", "folder", *data, "--stop-after-no-gain", "1"]
    stderr = run(*unlabeled, *small, "--run-folder", tmp_path / "none", code=2).stderr
    assert "error: --stop-after-no-gain 1: needs kNN evaluations, but folder has no labeled images" in stderr
    assert not (tmp_path / "none").exists()
