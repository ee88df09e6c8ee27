"""Checkpoints: whole or not there, the right ones kept, damage found, and a disk that cannot be written."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from test_resume import StopAfter, begin
from torch import nn

from sslzoo.method.base import MethodOutput
from sslzoo.runtime.errors import UserError
from sslzoo.train.checkpoint import CHECKSUMS, Checkpoints, find_damage
from sslzoo.train.monitor import IntervalMeans


class Trained:
    """A model of one weight in a training of its own."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        accelerator = Accelerator(cpu=True)
        self.model = accelerator.prepare(nn.Linear(1, 1))
        self.checkpoints = Checkpoints(accelerator, folder, IntervalMeans(), keep=keep)
        self.told: list[str] = []

    def save(self, step: int, best: int | None = None) -> str | None:
        nn.init.constant_(self.model.weight, step)
        return self.checkpoints.save(step, best)

    def load(self) -> int:
        step = self.checkpoints.load_newest(self.told.append)
        if step:
            assert self.model.weight.item() == step
        return step


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_and_the_best_are_kept(folder: Path) -> None:
    trained = Trained(folder)
    assert trained.load() == 0
    for step in (1, 2, 3, 4, 5):
        assert trained.save(step, best=2) is None
    assert names(folder) == ["step-00000002", "step-00000004", "step-00000005"]
    assert Trained(folder).load() == 5


def test_what_is_there_already_is_not_written_again(folder: Path) -> None:
    trained = Trained(folder)
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
    "checksums.json or what it names cannot be read": lambda c: (c / CHECKSUMS).write_text("{"),
    "": lambda c: (c / CHECKSUMS).write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_told_and_the_one_before_is_loaded(damage: str, folder: Path) -> None:
    trained = Trained(folder)
    for step in (1, 2):
        trained.save(step)
    assert find_damage(folder / "step-00000002") is None
    DAMAGES[damage](folder / "step-00000002")
    assert damage in str(find_damage(folder / "step-00000002"))
    again = Trained(folder)
    assert again.load() == 1
    assert [line.startswith(f"step-00000002: {damage}") for line in again.told] == [True]
    assert again.told[0].endswith("going on from step 1")
    assert names(folder) == ["damaged-step-00000002", "step-00000001"]
    assert again.save(2) is None
    assert Trained(folder).load() == 2


def test_when_none_is_whole_nothing_is_begun_anew(folder: Path) -> None:
    trained = Trained(folder)
    for step in (1, 2):
        trained.save(step)
        (folder / f"step-{step:08d}" / "model.safetensors").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError, match=r"no checkpoint is whole \(step-00000002: model.safetensors has changed\)"):
            Trained(folder).load()
    assert names(folder) == ["step-00000001", "step-00000002"]


def test_one_that_was_being_written_when_the_run_was_killed_does_not_count(folder: Path) -> None:
    Trained(folder).save(1)
    (folder / "writing-00000002").mkdir()
    (folder / "writing-00000002" / "model.safetensors").write_bytes(b"half")
    assert Trained(folder).load() == 1
    assert names(folder) == ["step-00000001"]


def test_a_disk_that_cannot_be_written_is_told_and_tried_again(folder: Path) -> None:
    trained = Trained(folder)
    folder.write_text("a file where the folder should be")
    assert "exists" in str(trained.save(1)) or "directory" in str(trained.save(1))
    folder.unlink()
    assert trained.save(1) is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unable to write")])
def test_a_disk_that_fills_up_leaves_the_last_one_whole(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Trained(folder)
    trained.save(1)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        assert trained.save(2) in ("No space left on device", "unable to write")
    assert names(folder) == ["step-00000001"]
    assert Trained(folder).load() == 1


def test_an_interval_goes_on_where_it_was(folder: Path) -> None:
    trained = Trained(folder)
    for loss in (1.0, 2.0):
        trained.checkpoints.means.add(MethodOutput(torch.tensor(loss), {}, torch.zeros(1, 1)), images=8)
    trained.save(1)
    again = Trained(folder)
    again.load()
    again.checkpoints.means.add(MethodOutput(torch.tensor(6.0), {}, torch.zeros(1, 1)), images=8)
    values = again.checkpoints.means.read(again.checkpoints.accelerator)
    assert values["loss"] == 3.0
    assert values["images_per_second"] * values["seconds"] == pytest.approx(24)


def test_another_number_of_processes_shares_the_interval() -> None:
    states = []
    for loss in (1.0, 3.0):
        means = IntervalMeans()
        means.add(MethodOutput(torch.tensor(loss), {}, torch.zeros(1, 1)), images=8)
        states.append(means.state_dict())
    alone = IntervalMeans()
    alone.load_state_dicts(states, 0, torch.device("cpu"))
    assert alone.values(Accelerator(cpu=True)) == {"loss": 2.0}


def test_a_full_disk_is_told_once_and_its_end_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = begin("--method moco", tmp_path / "run", monkeypatch)
    save, told, tries = training.checkpoints.save, [], []
    monkeypatch.setattr(training, "warn", told.append)
    monkeypatch.setattr("sslzoo.train.loop.RETRY_SECONDS", 0.01)

    def full(step: int, best: int | None) -> str | None:
        tries.append(step)
        no_space = 3 <= step <= 6 or (step == 12 and tries.count(12) < 4)
        return "No space left on device" if no_space else save(step, best)

    monkeypatch.setattr(training.checkpoints, "save", full)
    with StopAfter(0) as stop:
        training.run(stop)
    trouble = "cannot write a checkpoint (No space left on device); training continues and will retry"
    waits = "training is finished and waits until it can be saved; Ctrl-C aborts"
    again = "checkpoints can be written again"
    assert told == [trouble, again, trouble, waits, again]
    assert training.checkpoints.newest() == 12
