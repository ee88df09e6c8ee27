"""Callbacks of `sslzoo.train`: their events, their exceptions, and that they do not change the training."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from short_runs import SETTINGS, STEPS, list_steps, read_weights
from torch.utils._python_dispatch import TorchDispatchMode

import sslzoo
from sslzoo.training.callbacks import Callbacks, EpochMeans, Event, get_values


def test_events_report_steps_epochs_and_checkpoints(trained: sslzoo.Run, tmp_path: Path) -> None:
    steps: list[tuple[int, float]] = []
    epochs: list[tuple[float, dict[str, float]]] = []
    checkpoints: list[tuple[int, Path]] = []

    def record_checkpoint(event: sslzoo.Event) -> None:
        assert event.checkpoint is not None
        assert (event.checkpoint / "model.safetensors").is_file()
        checkpoints.append((event.step, event.checkpoint))

    run = sslzoo.train(
        output=tmp_path / "run",
        progress=False,
        on_step=lambda event: steps.append((event.step, event.metrics["loss"])),
        on_epoch=lambda event: epochs.append((event.epoch, event.metrics)),
        on_checkpoint=record_checkpoint,
        save_every=6,
        **SETTINGS,
    )
    assert [step for step, _ in steps] == list(range(1, STEPS + 1))
    assert [epoch for epoch, _ in epochs] == [1, 2]
    assert [step for step, _ in checkpoints] == [6, 12, 16]
    assert checkpoints[0][1] == run.path / "checkpoints" / "step-00000006"
    losses = np.array([loss for _, loss in steps])
    assert [metrics["loss"] for _, metrics in epochs] == pytest.approx(losses.reshape(2, 8).mean(axis=1), rel=1e-5)
    assert run.metrics["loss"].tolist() == pytest.approx(losses.reshape(4, 4).mean(axis=1), rel=1e-5)
    assert {"confidence", "extra_mass", "lr"} <= epochs[0][1].keys()
    assert "knn" not in epochs[0][1]
    assert epochs[1][1]["knn"] == run.metrics["knn"].iloc[-1]
    assert read_weights(run) == read_weights(trained)


def test_callbacks_cannot_change_the_training(trained: sslzoo.Run, tmp_path: Path) -> None:
    def disturb(event: sslzoo.Event) -> None:
        torch.manual_seed(event.step)
        np.random.seed(event.step)  # noqa: NPY002
        random.seed(event.step)
        event.model.eval()

    def evaluate(event: sslzoo.Event) -> None:
        disturb(event)
        event.model.student.backbone(torch.rand(4, 1, 8, 8))

    run = sslzoo.train(
        output=tmp_path / "run", progress=False, on_step=disturb, on_epoch=evaluate, on_checkpoint=disturb, **SETTINGS
    )
    assert read_weights(run) == read_weights(trained)


@pytest.mark.parametrize(("callback", "step"), [("on_step", 3), ("on_epoch", 8), ("on_checkpoint", 6)])
def test_exception_surfaces_after_the_run_is_saved(
    callback: str, step: int, trained: sslzoo.Run, tmp_path: Path
) -> None:
    def fail(event: sslzoo.Event) -> None:
        if event.step == step:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        sslzoo.train(output=tmp_path / "run", progress=False, **SETTINGS, **{callback: fail}, save_every=6)
    assert list_steps(tmp_path / "run")[-1] == step
    assert read_weights(sslzoo.train(resume=tmp_path / "run", progress=False)) == read_weights(trained)


class ReadRecorder(TorchDispatchMode):
    """Counts the values that are read from tensors."""

    reads = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.reads += function._schema.name == "aten::_local_scalar_dense"
        return function(*args, **(kwargs or {}))


def test_values_are_read_only_on_request() -> None:
    loss = torch.ones((), requires_grad=True) * 2
    output = sslzoo.MethodOutput(loss=loss, logs={"confidence": torch.tensor(0.5)}, embeddings=torch.ones(2, 3))
    means = EpochMeans()
    with ReadRecorder() as recorder:
        event = Event(1, 2, 0.5, torch.nn.Identity(), Path(), None, {**get_values(output), "lr": 0.1})
        means.add(output)
        means.add(output)
        values = means.compute_and_reset()
        assert recorder.reads == 0
        assert event.metrics == {"loss": 2, "confidence": 0.5, "lr": pytest.approx(0.1)}
        assert recorder.reads == 2
    assert values == {"loss": 2, "confidence": 0.5}
    assert not any(value.requires_grad for value in values.values())


def test_nothing_is_called_or_computed_without_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("must not be called")

    for name in ("call", "get_values"):
        monkeypatch.setattr(f"sslzoo.training.loop.{name}", refuse)
    monkeypatch.setattr(EpochMeans, "add", refuse)
    assert Callbacks() == Callbacks(None, None, None)
    run = sslzoo.train(output=tmp_path / "run", progress=False, **SETTINGS | {"epochs": 1})
    assert run.finished
