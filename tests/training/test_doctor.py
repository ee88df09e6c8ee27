"""A run is examined at each log interval: verdicts are logged, survive a resume, and can stop the run."""

import re
import subprocess
import sys
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console
from test_command import ENVIRONMENT, ROOT
from test_never_waits import WaitRecorder
from test_resume import StopAfter, TinyBackbone, create_loop, read_metrics, train

from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import METHODS
from sslzoo.modules.queue import Queue
from sslzoo.runtime.errors import UserError
from sslzoo.training.final import show_health
from sslzoo.training.signals import MAX_QUEUE_ROWS, Signals, measure_view_distance
from sslzoo.training.stop import Interrupted

COLLAPSING = [
    "--method", "byol", "--method.projector.out-norm", "none", "--method.predictor.layers", "1", "--epochs", "15",
    "--batch-size", "64", "--dataset.limit", "256", "--knn-every", "0", "--threads", "1", "--log-every", "5",
    "--schedule.warmup-epochs", "1", "--optimizer.lr", "0.01",
]  # fmt: skip
"""Flags of a run of 60 steps that collapses."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a backbone of one convolution."""
    monkeypatch.setattr("sslzoo.training.setup.create_backbone", lambda *_, **__: TinyBackbone())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder."""
    path = tmp_path / "run"
    path.mkdir()
    return path


def compose_collapsing(*flags: str) -> Experiment:
    """Compose the settings of a run that collapses."""
    return compose([*COLLAPSING, *flags])


@pytest.mark.usefixtures("tiny")
def test_verdict_is_logged_and_printed_when_it_changes(folder: Path) -> None:
    training = create_loop(compose_collapsing(), folder)
    training.display.console = Console(record=True, width=500, quiet=False, file=StringIO())
    with StopAfter(0) as stop:
        training.run(stop)
    lines = read_metrics(training)
    kinds = [line["health"] for line in lines]
    assert kinds[:7] == ["healthy"] * 7  # 30 steps, then patience
    assert kinds[-1] == "complete collapse"
    warnings = [text for text in training.display.console.export_text().splitlines() if "collapse" in text]
    changes = [kind for previous, kind in pairwise(kinds) if kind != previous]
    assert len(warnings) == len(changes)
    assert re.search(r"step \d+: complete collapse: embedding std 0\.0\d+, healthy is near 1, since step \d+; usual "
                     r"causes: no predictor", warnings[-1])  # fmt: skip
    assert training.metrics.doctor.verdict.kind == "complete collapse"


@pytest.mark.usefixtures("tiny")
def test_resumed_run_has_the_same_verdicts(tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    experiment = compose_collapsing()
    whole = train(experiment, tmp_path / "whole")
    for step in (12, 38, 47):
        with pytest.raises(Interrupted):
            train(experiment, tmp_path / "cut", stop_after=step)
    cut = train(experiment, tmp_path / "cut")
    assert read_metrics(cut) == read_metrics(whole)
    assert cut.metrics.doctor.verdict == whole.metrics.doctor.verdict
    assert not cut.metrics.doctor.verdict.is_healthy


@pytest.mark.usefixtures("tiny")
def test_collapse_stops_the_run_which_can_be_resumed(tmp_path: Path) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = train(compose_collapsing(), tmp_path / "whole")
    sick = next(line for line in read_metrics(whole) if line["health"] != "healthy")
    with pytest.raises(UserError) as stopped:
        train(compose_collapsing("--on-collapse", "stop"), tmp_path / "stopped")
    assert str(stopped.value).startswith(f"{sick['health']}: ")
    assert f"; stopped at step {sick['step']} of 60, saved; " in str(stopped.value)
    assert str(stopped.value).endswith(f"--resume {tmp_path / 'stopped'} --on-collapse warn continues it")
    assert "\n" not in str(stopped.value)
    resumed = train(compose_collapsing(), tmp_path / "stopped")
    assert read_metrics(resumed) == read_metrics(whole)
    states = [training.method.state_dict() for training in (whole, resumed)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_on_collapse_may_change_when_a_run_is_resumed() -> None:
    from sslzoo.comparison.agreement import comparable_settings
    from sslzoo.experiment.resume import require_same_settings

    warn, stop = compose_collapsing(), compose_collapsing("--on-collapse", "stop")
    require_same_settings(Path("run"), stop, warn)
    assert comparable_settings(warn) == comparable_settings(stop)


@pytest.mark.parametrize("name", ["moco", "simclr", "dino", "vicreg", "tico", "supcon"])
def test_signals_are_finite_and_change_nothing(name: str) -> None:
    tiny = Tiny.of("--method", name)
    plain, method = tiny.method(), tiny.method()
    signals = Signals(method)
    for each in (plain, method):
        each.after_batch(run(each, tiny.sample()))
    outputs = [run(each, tiny.sample(1)) for each in (plain, method)]
    values = signals.measure(outputs[1], step=2)
    assert torch.equal(outputs[0].loss, outputs[1].loss)
    assert all(torch.equal(value, method.state_dict()[key]) for key, value in plain.state_dict().items())
    assert torch.isfinite(torch.tensor(list(values.values()))).all()
    expected = {"embedding_std", "effective_rank", "feature_std", "feature_rank", "centered_rank", "uniformity"}
    expected |= {"view_distance", "student_norm"}
    expected |= set() if name == "tico" else {"alignment", "separation"}
    expected |= {"teacher_norm", "teacher_distance"} if name in ("moco", "dino", "tico") else set()
    expected |= {"queue_age", "queue_std"} if name == "moco" else set()
    assert expected <= values.keys()
    assert 1 <= values["feature_rank"] <= 16
    assert 1 <= values["centered_rank"] <= values["max_rank"] + 0.1


def test_view_distance_is_that_of_the_pixels() -> None:
    one = torch.zeros(20, 3, 4, 4)
    distance = measure_view_distance([one, one + 0.5, one + 9])
    assert distance is not None
    assert distance.item() == pytest.approx(0.5)
    equal = measure_view_distance([one, one])
    assert equal is not None
    assert equal.item() == 0
    assert measure_view_distance([one, one[..., 1:]]) is None
    assert measure_view_distance([one]) is None


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_has_signals(name: str) -> None:
    tiny = Tiny.of("--method", name)
    method = tiny.method()
    signals = Signals(method)
    output = run(method, tiny.sample())
    assert {"embedding_std", "feature_rank", "centered_rank"} <= signals.measure(output, step=1).keys()


@pytest.mark.parametrize("name", ["moco", "dino", "simclr"])
def test_hooks_never_wait_for_the_device(name: str) -> None:
    tiny = Tiny.of("--method", name)
    method = tiny.method()
    signals, sample = Signals(method), tiny.sample()
    with WaitRecorder() as recorder:
        output = run(method, sample)
        output.loss.backward()
        method.after_batch(output)
    assert recorder.waits == []
    with WaitRecorder() as recorder:
        signals.measure(output, step=1)
    assert recorder.waits


def test_teacher_and_queue_are_measured() -> None:
    tiny = Tiny.of("--method", "moco", "--method.queue-size", "96", "--method.momentum", "0.5")
    method = tiny.method()
    signals = Signals(method)
    outputs = [run(method, tiny.sample(seed)) for seed in range(2)]
    for output in outputs:
        method.after_batch(output)
    first = signals.measure(outputs[1], step=2)
    assert first["teacher_distance"] == 0
    assert first["queue_age"] == 2  # the queue is not full: it holds keys of both steps
    assert signals.measure(outputs[1], step=1)["queue_age"] == 1
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.mul_(1.5)
    moved = signals.measure(outputs[1], step=2)
    assert moved["teacher_distance"] == pytest.approx(0.5, rel=1e-5)
    assert moved["teacher_norm"] == first["teacher_norm"]
    method.after_step(0.0)
    assert signals.measure(outputs[1], step=2)["teacher_norm"] > first["teacher_norm"]
    for _ in range(8):
        method.after_batch(outputs[0])
    assert signals.measure(outputs[0], step=10)["queue_age"] == pytest.approx(96 / 32)
    method.queue.keys.copy_(torch.ones_like(method.queue.keys))
    assert signals.measure(outputs[0], step=10)["queue_std"] == pytest.approx(0, abs=1e-5)


def test_spread_of_a_long_queue_is_measured_on_a_part() -> None:
    tiny = Tiny.of("--method", "moco", "--method.queue-size", str(2 * MAX_QUEUE_ROWS))
    method = tiny.method()
    signals, output = Signals(method), run(method, tiny.sample())
    queue = next(module for module in method.modules() if isinstance(module, Queue))
    queue.keys[:MAX_QUEUE_ROWS].copy_(torch.ones_like(queue.keys[:MAX_QUEUE_ROWS]))
    assert signals.measure(output, step=1)["queue_std"] == pytest.approx(0, abs=1e-5)


def test_views_of_one_image_are_compared() -> None:
    tiny = Tiny.of("--method", "simclr")
    method, sample = tiny.method(), tiny.sample()
    signals = Signals(method)
    sample.views[1].copy_(sample.views[0])
    values = signals.measure(run(method, sample), step=1)
    assert values["alignment"] == pytest.approx(0, abs=1e-5)
    assert values["separation"] > 2
    sample.views[1].copy_(sample.views[0].roll(1, dims=0))
    rolled = signals.measure(run(method, sample), step=1)
    assert rolled["alignment"] > 0.1
    assert rolled["separation"] < 1


def test_last_verdict_is_printed() -> None:
    console = Console(record=True, width=200, file=StringIO())
    show_health(console, {"verdict": "healthy", "since": 0, "description": "healthy"})
    show_health(console, {"verdict": "divergence", "since": 5, "description": "divergence: loss 9"})
    assert console.export_text().splitlines() == [
        "health at the end of training: healthy",
        "warning: health at the end of training: divergence: loss 9",
    ]


@pytest.mark.long
def test_two_processes_stop_at_the_same_step(tmp_path: Path) -> None:
    flags = [*COLLAPSING, "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--evaluation.classifiers", "knn"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [sys.executable, *launcher, "run.py", *flags, "--run-folder", str(tmp_path / "run")]
    stopped = subprocess.run(
        [*words, "--on-collapse", "stop"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert stopped.returncode != 0
    errors = set(re.findall(r"^error: .*", stopped.stderr, flags=re.MULTILINE))
    assert len(errors) == 1, stopped.stderr
    (error,) = errors
    step = re.search(r"collapse: .* stopped at step (\d+) of 60, saved; --resume", error)
    assert step
    assert (tmp_path / "run" / "checkpoints" / f"step-{int(step[1]):08d}").is_dir()
    resumed = [sys.executable, *launcher, "run.py", "--resume", str(tmp_path / "run"), "--on-collapse", "warn"]
    subprocess.run(resumed, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    assert '"verdict": "complete collapse"' in (tmp_path / "run" / "summary.json").read_text()
