"""`sslzoo.train` equals the command line, and leaves the process as it was."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from short_runs import FLAGS, SETTINGS, STEPS, list_steps, read_weights

import sslzoo
from sslzoo.cli import main
from sslzoo.training.stop import SIGNALS


def test_weights_and_config_equal_those_of_the_command_line(trained: sslzoo.Run, tmp_path: Path) -> None:
    assert main([*FLAGS, "--run-folder", str(tmp_path / "run")]) == 0
    assert read_weights(tmp_path / "run") == read_weights(trained)
    configs = [(folder / "config.yaml").read_text() for folder in (tmp_path / "run", trained.path)]
    assert configs[0].replace(str(tmp_path / "run"), str(trained.path)) == configs[1]


@pytest.mark.long
def test_weights_equal_those_of_a_new_process(trained: sslzoo.Run, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sslzoo", *FLAGS, "--run-folder", str(tmp_path / "run")]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(Path(sslzoo.__file__).parents[1])}
    subprocess.run(words, env=environment, check=True, capture_output=True, timeout=300)
    assert read_weights(tmp_path / "run") == read_weights(trained)


def test_precision_of_one_training_does_not_stay(trained: sslzoo.Run, tmp_path: Path) -> None:
    bf16 = sslzoo.train(output=tmp_path / "bf16", progress=False, **SETTINGS | {"precision": "bf16", "epochs": 1})
    assert bf16.config.precision == "bf16"
    again = sslzoo.train(output=tmp_path / "fp32", progress=False, **SETTINGS)
    assert read_weights(again) == read_weights(trained) != read_weights(bf16)


def snapshot() -> dict[str, Any]:
    """Collect the global state of the process that a training could change."""
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "accelerate": [dict(kind._shared_state) for kind in (PartialState, AcceleratorState, GradientState)],
        "logging": (logging.root.level, list(logging.root.handlers)),
        "warnings": list(warnings.filters),
        "backend": matplotlib.rcParams["backend"],
        "environment": dict(os.environ),
        "display": pd.get_option("display.width"),
        "folder": Path.cwd(),
    }


def test_nothing_global_changes(trained: sslzoo.Run, tmp_path: Path) -> None:
    handlers = [signal.signal(number, lambda *_: None) for number in SIGNALS]
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    Accelerator(mixed_precision="bf16", cpu=True, gradient_accumulation_steps=3)
    try:
        before = snapshot()
        with torch.no_grad():
            run = sslzoo.train(output=tmp_path / "run", progress=False, **SETTINGS)
        after_training = snapshot()
        run.evaluate("knn", progress=False)
        run.backbone()
        run.plot()
        after = snapshot()
    finally:
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float32)
        for number, handler in zip(SIGNALS, handlers, strict=True):
            signal.signal(number, handler)
        for kind in (PartialState, AcceleratorState, GradientState):
            kind._reset_state()
    for name, value in before.items():
        assert value == after_training[name] == after[name], name
    assert before["accelerate"][1]["_mixed_precision"] == "bf16"
    assert read_weights(run) == read_weights(trained)


def test_failed_call_changes_nothing_either(trained: sslzoo.Run, tmp_path: Path) -> None:
    assert trained.finished  # all libraries are imported, which add filters of warnings when they are
    before = snapshot()
    with pytest.raises(sslzoo.UserError, match="one batch needs 512 images, but the training split has 256"):
        sslzoo.train(output=tmp_path / "run", **SETTINGS | {"batch_size": 512})
    assert snapshot() == before
    assert not (tmp_path / "run").exists()


def test_training_in_another_thread(trained: sslzoo.Run, tmp_path: Path) -> None:
    runs = []
    thread = threading.Thread(
        target=lambda: runs.append(sslzoo.train(output=tmp_path / "run", progress=False, **SETTINGS))
    )
    thread.start()
    thread.join()
    assert read_weights(runs[0]) == read_weights(trained)


def interrupt_at(step: int) -> Any:
    """Return a callback that sends Ctrl-C to this process after a step."""
    return lambda event: os.kill(os.getpid(), signal.SIGINT) if event.step == step else None


def test_interrupted_training_is_saved_and_resumes_bit_identically(trained: sslzoo.Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match="stopped at step 5 of 16, saved") as stopped:
        sslzoo.train(output=folder, progress=False, on_step=interrupt_at(5), **SETTINGS)
    assert isinstance(stopped.value, sslzoo.Interrupted)
    assert list_steps(folder) == [5]
    run = sslzoo.Run(folder)
    assert not run.finished
    with pytest.raises(sslzoo.UserError, match=r"not finished; sslzoo\.train\(resume='.*'\) finishes it"):
        _ = run.summary
    assert run.backbone()(torch.zeros(1, 1, 8, 8)).shape == (1, 8)
    resumed = sslzoo.train(resume=run, progress=False)
    assert resumed.summary["resumed_at_step"] == 5
    assert read_weights(resumed) == read_weights(trained)
    pd.testing.assert_frame_equal(
        resumed.metrics.drop(columns=["seconds", "images_per_second"]),
        trained.metrics.drop(columns=["seconds", "images_per_second"]),
    )


def test_auto_resumes_an_interrupted_training(trained: sslzoo.Run, tmp_path: Path) -> None:
    for step in (3, 7):
        with pytest.raises(sslzoo.Interrupted):
            sslzoo.train(output=tmp_path / "run", resume="auto", progress=False, on_step=interrupt_at(step), **SETTINGS)
    run = sslzoo.train(output=tmp_path / "run", resume="auto", progress=False, **SETTINGS)
    assert run.summary["resumed_at_step"] == 7
    assert read_weights(run) == read_weights(trained)


def test_second_interrupt_does_not_kill_the_process(tmp_path: Path) -> None:
    def interrupt_twice(event: sslzoo.Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sslzoo.train(output=tmp_path / "run", progress=False, on_step=interrupt_twice, **SETTINGS)
    assert list_steps(tmp_path / "run") == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs = 0: input should be greater than 0"),
        ({"epoch": 3}, "epoch: no such setting; did you mean epochs?"),
        ({"method": "mocoo"}, "--method mocoo: no such method; did you mean moco"),
        ({"method": {"queue_sise": 3}}, "method.queue_sise: no such setting; did you mean queue_size?"),
        ({"data": "cifr10"}, "--dataset cifr10: no such data set; did you mean cifar10 or cifar100?"),
        ({"data": "no/such/folder"}, "--dataset no/such/folder: no such data set"),
        ({"data": "./nothing"}, "--dataset.path ./nothing: no such file or folder"),
        ({"data": 5}, "data: train is a int; give a path, a name"),
        ({"data": "digits", "dataset": "cifar10"}, "data = 'digits': cannot be combined with dataset = cifar10"),
        ({"config": "recipe/cpuu"}, "--config recipe/cpuu: no such file, nor a config of that name; did you mean"),
        ({"plugin": "nothing.py"}, "--plugin nothing.py: no such file"),
        ({"optimizer": "sgd"}, "--optimizer sgd: requires --optimizer.lr as well"),
        ({"resume": "nothing"}, "--resume nothing: not a run folder (it has no config.yaml)"),
        ({"output": "a", "run_folder": "b"}, "output = 'a': is the same as run_folder"),
        ({"resume_anyway": True}, "resume_anyway = True: names no run"),
        ({"output": "a", "resume": "b"}, "output = 'a': cannot be combined with resume"),
    ],
)
def test_invalid_arguments(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sslzoo.UserError) as error:
        sslzoo.train(progress=False, **arguments)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_used_output_and_changed_settings_are_refused(trained: sslzoo.Run) -> None:
    with pytest.raises(sslzoo.UserError, match="is not empty; --resume"):
        sslzoo.train(output=trained.path, progress=False, **SETTINGS)
    with pytest.raises(sslzoo.UserError, match="a resumed run keeps its settings, but epochs was 2 and is now 3"):
        sslzoo.train(resume=trained.path, epochs=3, progress=False)
    with pytest.raises(sslzoo.UserError, match=r"not a run folder \(it has no config\.yaml\)"):
        sslzoo.Run(trained.path.parent)


def test_run_shows_metrics_summary_config_and_plot(trained: sslzoo.Run) -> None:
    assert repr(trained) == f"Run({str(trained.path)!r}), finished"
    assert list(trained.metrics.index) == [4, 8, 12, 16]
    assert trained.metrics["knn"].notna().tolist() == [False, False, False, True]
    assert trained.metrics["loss"].notna().all()
    assert trained.summary["steps"] == STEPS
    assert (trained.config.method.queue_size, trained.config.dataset.test_limit) == (128, 60)
    figure = trained.plot()
    assert isinstance(figure, matplotlib.figure.Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    model = trained.backbone()
    assert not model.training
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 8)


def test_quiet_training_prints_nothing(trained: sslzoo.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = sslzoo.train(output=tmp_path / "run", progress=False, **SETTINGS)
    assert capfd.readouterr().out == ""
    run = sslzoo.train(output=tmp_path / "loud", **SETTINGS | {"epochs": 1, "knn_every": 0})
    output = capfd.readouterr().out
    assert "Test accuracy" in output
    assert f"summary and images: {run.path}" in output
