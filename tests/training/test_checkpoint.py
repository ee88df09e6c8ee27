"""Checkpoints: complete or absent, retention, detection of damage, and write errors."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from test_resume import StopAfter, start_run
from torch import nn

from sslzoo.method.base import MethodOutput
from sslzoo.runtime.errors import UserError
from sslzoo.training.checkpoint import CHECKSUMS, Checkpoints, find_damage
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.provenance import Provenance

UNCHANGED = Provenance(settings={}, steps_per_epoch=1, data={"classes": [], "splits": {}})


class TrainedModel:
    """A model with one weight and its checkpoints."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        accelerator = Accelerator(cpu=True)
        self.model = accelerator.prepare(nn.Linear(1, 1))
        self.checkpoints = Checkpoints(accelerator, folder, IntervalMeans(), UNCHANGED, keep=keep)
        self.warnings: list[str] = []

    def save(self, step: int, best: int | None = None) -> str | None:
        nn.init.constant_(self.model.weight, step)
        return self.checkpoints.save(step, best)

    def load(self) -> int:
        step = self.checkpoints.load_newest(self.warnings.append)
        if step:
            assert self.model.weight.item() == step
        return step


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_newest_and_best_checkpoints_are_kept(folder: Path) -> None:
    trained = TrainedModel(folder)
    assert trained.load() == 0
    for step in (1, 2, 3, 4, 5):
        assert trained.save(step, best=2) is None
    assert names(folder) == ["step-00000002", "step-00000004", "step-00000005"]
    assert TrainedModel(folder).load() == 5


def test_existing_checkpoint_is_not_written_again(folder: Path) -> None:
    trained = TrainedModel(folder)
    trained.save(1)
    before = (folder / "step-00000001" / "model.safetensors").stat().st_mtime_ns
    assert trained.save(1) is None
    assert (folder / "step-00000001" / "model.safetensors").stat().st_mtime_ns == before


DAMAGES = {
    "model.safetensors has changed": lambda c: (c / "model.safetensors").write_bytes(
        (c / "model.safetensors").read_bytes()[:-1] + b"x"
    ),
    "model.safetensors is missing": lambda c: (c / "model.safetensors").unlink(),
    "random_states_0.pkl has changed": lambda c: (c / "random_states_0.pkl").write_bytes(b""),
    "checksums.json is missing": lambda c: (c / CHECKSUMS).unlink(),
    "checksums.json or a file that it lists cannot be read": lambda c: (c / CHECKSUMS).write_text("{"),
    "": lambda c: (c / CHECKSUMS).write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_reported_and_the_previous_one_is_loaded(damage: str, folder: Path) -> None:
    trained = TrainedModel(folder)
    for step in (1, 2):
        trained.save(step)
    assert find_damage(folder / "step-00000002") is None
    DAMAGES[damage](folder / "step-00000002")
    assert damage in str(find_damage(folder / "step-00000002"))
    again = TrainedModel(folder)
    assert again.load() == 1
    assert [line.startswith(f"step-00000002: {damage}") for line in again.warnings] == [True]
    assert again.warnings[0].endswith("resuming from step 1")
    assert names(folder) == ["damaged-step-00000002", "step-00000001"]
    assert again.save(2) is None
    assert TrainedModel(folder).load() == 2


def test_run_without_intact_checkpoint_is_an_error(folder: Path) -> None:
    trained = TrainedModel(folder)
    for step in (1, 2):
        trained.save(step)
        (folder / f"step-{step:08d}" / "model.safetensors").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"no checkpoint is intact \(step-00000002: model.safetensors has changed\)"
        ):
            TrainedModel(folder).load()
    assert names(folder) == ["step-00000001", "step-00000002"]


def test_partially_written_checkpoint_is_deleted(folder: Path) -> None:
    TrainedModel(folder).save(1)
    (folder / "writing-00000002").mkdir()
    (folder / "writing-00000002" / "model.safetensors").write_bytes(b"partial")
    assert TrainedModel(folder).load() == 1
    assert names(folder) == ["step-00000001"]


def test_write_error_is_returned_and_the_next_save_succeeds(folder: Path) -> None:
    trained = TrainedModel(folder)
    folder.write_text("a file where the folder should be")
    assert "exists" in str(trained.save(1)) or "directory" in str(trained.save(1))
    folder.unlink()
    assert trained.save(1) is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unable to write")])
def test_full_disk_leaves_the_previous_checkpoint_intact(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = TrainedModel(folder)
    trained.save(1)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        assert trained.save(2) in ("No space left on device", "unable to write")
    assert names(folder) == ["step-00000001"]
    assert TrainedModel(folder).load() == 1


def test_interval_means_are_restored(folder: Path) -> None:
    trained = TrainedModel(folder)
    for loss in (1.0, 2.0):
        trained.checkpoints.means.add(MethodOutput(torch.tensor(loss), {}, torch.zeros(1, 1)), images=8)
    trained.save(1)
    again = TrainedModel(folder)
    again.load()
    again.checkpoints.means.add(MethodOutput(torch.tensor(6.0), {}, torch.zeros(1, 1)), images=8)
    values = again.checkpoints.means.compute_and_reset(again.checkpoints.accelerator)
    assert values["loss"] == 3.0
    assert values["images_per_second"] * values["seconds"] == pytest.approx(24)


def test_interval_means_are_averaged_for_another_number_of_processes() -> None:
    states = []
    for loss in (1.0, 3.0):
        means = IntervalMeans()
        means.add(MethodOutput(torch.tensor(loss), {}, torch.zeros(1, 1)), images=8)
        states.append(means.state_dict())
    alone = IntervalMeans()
    alone.load_state_dicts(states, 0, torch.device("cpu"))
    assert alone.compute(Accelerator(cpu=True)) == {"loss": 2.0}


def test_full_disk_is_reported_once_and_so_is_the_next_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start_run("--method moco", tmp_path / "run", monkeypatch)
    save, warnings, attempts = training.checkpoints.save, [], []
    monkeypatch.setattr(training.display, "warn", lambda step, text: warnings.append(text))
    monkeypatch.setattr("sslzoo.training.saving.RETRY_SECONDS", 0.01)

    def save_unless_full(step: int, best: int | None) -> str | None:
        attempts.append(step)
        no_space = 3 <= step <= 6 or (step == 12 and attempts.count(12) < 4)
        return "No space left on device" if no_space else save(step, best)

    monkeypatch.setattr(training.checkpoints, "save", save_unless_full)
    with StopAfter(0) as stop:
        training.run(stop)
    failed = "cannot write a checkpoint (No space left on device); training continues and will retry"
    waiting = "training has finished; waiting until the checkpoint can be written; Ctrl-C aborts"
    succeeded = "checkpoints can be written again"
    assert warnings == [failed, succeeded, failed, waiting, succeeded]
    assert training.checkpoints.newest_step() == 12
