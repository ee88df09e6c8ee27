"""A run that is stopped and resumed is bit-identical to an uninterrupted run, for every method."""

import signal
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiers import quick

from sslzoo.check.tiny import TinyBackbone
from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import METHODS
from sslzoo.training.checkpoint import Checkpoints
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.folder import RunFolder
from sslzoo.training.loop import TrainingLoop
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.provenance import describe_provenance
from sslzoo.training.setup import create_learner, start_accelerator
from sslzoo.training.stop import Interrupted, StopRequest

STEPS = [1, 5, 8, 10]
"""Steps after which a run of twelve steps in three epochs is stopped: within each epoch, and at an epoch's end."""

FLAGS = [
    "--epochs", "3", "--batch-size", "64", "--dataset.limit", "256", "--schedule.warmup-epochs", "1",
    "--knn-every", "0", "--threads", "1", "--log-every", "3",
]  # fmt: skip


class StopAfter(StopRequest):
    """Simulates SIGTERM after a step; 0 for none."""

    def __init__(self, step: int) -> None:
        super().__init__(10, torch.device("cpu"))
        self.step = step

    def poll(self, step: int) -> tuple[bool, int]:
        return (True, signal.SIGTERM) if step == self.step else (False, 0)


def create_loop(experiment: Experiment, folder: Path) -> TrainingLoop:
    """Create the loop that starts or resumes a run in a folder."""
    accelerator = start_accelerator(experiment)
    data = load_data(experiment.dataset)
    learner = create_learner(experiment, data, accelerator)
    run = RunFolder(folder)
    provenance = describe_provenance(experiment, data, learner.steps_per_epoch)
    checkpoints = Checkpoints(accelerator, run.checkpoints, IntervalMeans(), provenance, keep=2)
    step = checkpoints.load_newest(report=pytest.fail)
    run.prepare_resuming(experiment, step, report=pytest.fail)
    display = TrainingDisplay(
        Console(quiet=True),
        epochs=experiment.epochs,
        steps_per_epoch=learner.steps_per_epoch,
        batch_size=experiment.batch_size,
        start=step,
    )
    return TrainingLoop(
        experiment,
        data.train,
        learner,
        accelerator,
        checkpoints.means,
        step,
        folder=run,
        checkpoints=checkpoints,
        display=display,
        evaluate_knn=None,
    )


def start_run(flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingLoop:
    """Create the loop of a new run that saves after each step."""
    monkeypatch.setattr("sslzoo.training.setup.create_backbone", lambda *_, **__: TinyBackbone())
    folder.mkdir()
    return create_loop(compose([*FLAGS, "--save-every", "1", *flags.split()]), folder)


def train(experiment: Experiment, folder: Path, stop_after: int = 0) -> TrainingLoop:
    """Start or resume a run in a folder, and stop it after a step."""
    training = create_loop(experiment, folder)
    with StopAfter(stop_after) as stop:
        training.run(stop)
    return training


def read_metrics(training: TrainingLoop) -> list[dict[str, float]]:
    """Read the lines of metrics.jsonl without time and speed."""
    clocks = ("images_per_second", "seconds")
    return [{key: value for key, value in line.items() if key not in clocks} for line in training.folder.read_metrics()]


@pytest.mark.parametrize(
    "flags",
    quick(
        [*(f"--method {name}" for name in METHODS.names()), "--method ascl --accumulate 4"],
        "--method ascl",
        "--method swav",
    ),
)
def test_resumed_run_is_bit_identical(flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.training.setup.create_backbone", lambda *_, **__: TinyBackbone())
    require_bit_identical(compose([*FLAGS, *flags.split()]), tmp_path)


@pytest.mark.parametrize("adapters", [[], ["--backbone.lora", "2"]], ids=["weights", "adapters"])
def test_resumed_run_with_frozen_blocks_and_layer_decay_is_bit_identical(adapters: list[str], tmp_path: Path) -> None:
    flags = ["--backbone", "test_vit", "--img-size", "32", "--backbone.freeze", "2", "--optimizer.layer-decay", "0.5"]
    flags += adapters
    require_bit_identical(compose([*FLAGS, "--method", "ascl", *flags]), tmp_path)


def require_bit_identical(experiment: Experiment, tmp_path: Path) -> None:
    """Compare a run that is stopped after each of `STEPS` with an uninterrupted one."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = train(experiment, tmp_path / "whole")
    for step in STEPS:
        with pytest.raises(Interrupted):
            train(experiment, tmp_path / "cut", stop_after=step)
    cut = train(experiment, tmp_path / "cut")
    assert whole.step == cut.step == 12
    assert read_metrics(whole) == read_metrics(cut)
    assert len(read_metrics(whole)) == 4
    states = [training.method.state_dict() for training in (whole, cut)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    moments = [training.learner.optimizer.state_dict()["state"] for training in (whole, cut)]
    assert moments[0].keys() == moments[1].keys()
    for number, moment in moments[0].items():
        assert all(torch.equal(value, moments[1][number][name]) for name, value in moment.items())
