"""A run that is stopped at any step and resumed is the run that was never stopped, with every method."""

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
from sslzoo.train.checkpoint import Checkpoints
from sslzoo.train.console import TrainingDisplay
from sslzoo.train.folder import RunFolder
from sslzoo.train.loop import Training
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.setup import create_learner, start_accelerator
from sslzoo.train.stop import Interrupted, StopRequest

STEPS = [1, 5, 8, 10]
"""After which a run of twelve steps in three epochs is stopped: once within each epoch, and at an epoch's end."""

FLAGS = [
    "--epochs", "3", "--batch-size", "64", "--dataset.limit", "256", "--schedule.warmup-epochs", "1",
    "--knn-every", "0", "--threads", "1", "--log-every", "3",
]  # fmt: skip


class StopAfter(StopRequest):
    """Acts as if SIGTERM came after a step."""

    def __init__(self, step: int) -> None:
        super().__init__(10, torch.device("cpu"))
        self.step = step

    def ask(self, step: int) -> tuple[bool, int]:
        return (True, signal.SIGTERM) if step == self.step else (False, 0)


def prepare(experiment: Experiment, folder: Path) -> Training:
    """What begins a run in the folder, or goes on with it."""
    accelerator = start_accelerator(experiment)
    data = load_data(experiment.dataset)
    learner = create_learner(experiment, data, accelerator)
    run = RunFolder(folder)
    checkpoints = Checkpoints(accelerator, run.checkpoints, IntervalMeans(), keep=2)
    step = checkpoints.load_newest(tell=pytest.fail)
    run.forget_after(step)
    display = TrainingDisplay(
        Console(quiet=True), epochs=experiment.epochs, steps_per_epoch=learner.steps_per_epoch, start=step
    )
    return Training(
        experiment,
        data.train,
        learner,
        accelerator,
        checkpoints.means,
        step,
        folder=run,
        checkpoints=checkpoints,
        display=display,
        watch=None,
    )


def begin(flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """A run that saves after each step."""
    monkeypatch.setattr("sslzoo.train.setup.create_backbone", lambda *_, **__: TinyBackbone())
    folder.mkdir()
    return prepare(compose([*FLAGS, "--save-every", "1", *flags.split()]), folder)


def train(experiment: Experiment, folder: Path, stop_after: int = 0) -> Training:
    """Begin or go on with a run in the folder."""
    training = prepare(experiment, folder)
    with StopAfter(stop_after) as stop:
        training.run(stop)
    return training


def metrics(training: Training) -> list[dict[str, float]]:
    clocks = ("images_per_second", "seconds")
    return [{key: value for key, value in line.items() if key not in clocks} for line in training.folder.records()]


@pytest.mark.parametrize(
    "flags",
    quick(
        [*(f"--method {name}" for name in METHODS.names()), "--method ascl --accumulate 4"],
        "--method ascl",
        "--method swav",
    ),
)
def test_a_stopped_run_goes_on_exactly(flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.train.setup.create_backbone", lambda *_, **__: TinyBackbone())
    experiment = compose([*FLAGS, *flags.split()])
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = train(experiment, tmp_path / "whole")
    for step in STEPS:
        with pytest.raises(Interrupted):
            train(experiment, tmp_path / "cut", stop_after=step)
    cut = train(experiment, tmp_path / "cut")
    assert whole.step == cut.step == 12
    assert metrics(whole) == metrics(cut)
    assert len(metrics(whole)) == 4
    states = [training.method.state_dict() for training in (whole, cut)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    moments = [training.learner.optimizer.state_dict()["state"] for training in (whole, cut)]
    assert moments[0].keys() == moments[1].keys()
    for number, moment in moments[0].items():
        assert all(torch.equal(value, moments[1][number][name]) for name, value in moment.items())
