"""`run.py plan`: clock, estimates, suggestions, and the command from end to end."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sslzoo.experiment.compose import compose
from sslzoo.plan.advice import group_shares, list_hints, suggest_flags
from sslzoo.plan.clock import Clock
from sslzoo.plan.command import format_duration
from sslzoo.plan.estimate import estimate
from sslzoo.plan.measure import Measurement

ROOT = Path(__file__).resolve().parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The current time of the clock, in the first entry."""
    now = [0.0]
    monkeypatch.setattr("sslzoo.plan.clock.time.perf_counter", lambda: now[0])
    return now


def test_nested_parts_are_counted_once(seconds: list[float]) -> None:
    clock = Clock(CPU)
    with clock.part("outer"):
        seconds[0] += 1
        for _ in range(2):
            with clock.part("inner"):
                seconds[0] += 10
                with clock.part("innermost"):
                    seconds[0] += 100
        seconds[0] += 1
    assert clock.seconds == {"outer": 2, "inner": 20, "innermost": 200}


def test_stop_restores_the_timed_functions(seconds: list[float]) -> None:
    class Worker:
        def work(self, time: float) -> float:
            seconds[0] += time
            return 2 * time

    worker, clock = Worker(), Clock(CPU)
    clock.time_calls(worker, "work", "work")
    assert [*clock.time_items(iter([worker.work(3)]), "items")] == [6]
    clock.stop()
    worker.work(50)
    assert clock.seconds["work"] == 3
    assert "work" not in vars(worker)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), clock.part("failed"):
        fail()
    with clock.part("after"):
        seconds[0] += 1
    assert clock.seconds["after"] == 1


def create_measurement(**parts: float) -> Measurement:
    return Measurement(
        [0.5, 0.4, 9.0],
        parts,
        steps_per_epoch=10,
        images=64,
        host_bytes=0,
        device_bytes=None,
        received={},
        encoded_per_second=50.0,
    )


def test_estimates_match_calculation_by_hand() -> None:
    experiment = compose(["--method", "moco", "--epochs", "20", "--knn-every", "10", "--knn-images", "100"])
    data = SimpleNamespace(labeled=range(1000), test=range(250), train=SimpleNamespace(decoded=True))
    run = estimate(experiment, data, create_measurement())
    assert create_measurement().images_per_second == 128
    assert run.training == 20 * 10 * 0.5
    assert run.knn == 2 * 100 / 50  # epochs 10, 20
    assert run.features == 2 * 1250 / 50
    assert run.total == 100 + 4 + 50
    unlabeled = estimate(experiment, SimpleNamespace(labeled=None, test=None), create_measurement())
    assert unlabeled.total == 100
    assert format_duration(3661) == "1:01:01"
    assert format_duration(360_000) == "100.0 h"


def test_suggestions_follow_the_shares_of_a_step() -> None:
    experiment = compose(["--method", "moco", "--precision", "fp32", "--compile-augmentations", "false"])
    shares = group_shares(create_measurement(data=1, augment=2, forward=3, backward=3, communication=1))
    assert shares == pytest.approx({"data": 0.1, "augment": 0.2, "compute": 0.6, "communication": 0.1})
    on_cpu = [suggestion.flags for suggestion in suggest_flags(experiment, CPU, shares, 60)]
    assert on_cpu == ["--precision bf16", "--compile-augmentations true"]
    assert [suggestion.flags for suggestion in suggest_flags(experiment, GPU, shares, 60)] == ["--precision bf16"]
    assert [suggestion.flags for suggestion in suggest_flags(experiment, GPU, shares, 6000)] == [
        "--precision bf16",
        "--compile",
    ]
    fast = compose(["--method", "moco", "--precision", "bf16", "--compile-augmentations"])
    assert not [*suggest_flags(fast, CPU, shares, 60)]
    slow = group_shares(create_measurement(data=5, forward=5, communication=5))
    cached, uncached = (SimpleNamespace(train=SimpleNamespace(decoded=decoded)) for decoded in (True, False))
    assert any("disk" in hint for hint in list_hints(experiment, cached, GPU, slow))
    assert any("--dataset.workers" in hint for hint in list_hints(experiment, uncached, GPU, slow))
    assert any("--accumulate" in hint for hint in list_hints(experiment, cached, GPU, slow))
    assert not [*list_hints(experiment, cached, GPU, group_shares(create_measurement(forward=1)))]


def run(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *launcher, str(ROOT / "run.py"), "plan", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "COLUMNS": "200"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


SMALL = ["--precision", "fp32", "--threads", "1", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--seconds", "0.2"]


def test_command_prints_all_fields_and_writes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "--method", "ascl", *SMALL)
    assert done.returncode == 0, done.stderr
    for line in ("speed", "memory", "key forward", "augment", "teacher", "bottleneck", "--precision bf16: "):
        assert line in done.stdout
    assert "60 epochs, 600 steps" in done.stdout
    shares = [int(share) for share in re.findall(r"(\d+) %$", done.stdout, flags=re.MULTILINE)]
    assert 95 <= sum(shares) <= 105
    assert not [*tmp_path.iterdir()]


@pytest.mark.long
@pytest.mark.parametrize("method", ["moco", "simclr"])
def test_two_processes_report_the_bytes_they_receive(method: str, tmp_path: Path) -> None:
    """Each process has 64 grayscale images of 8 x 8 pixels."""
    tries = [] if method == "simclr" else ["--no-tries"]
    done = run(tmp_path, "--method", method, *SMALL, *tries, launcher=TWO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("bottleneck") == 1
    width = compose(["--method", method]).method.projector.out
    floats = {
        "moco": 64 * (8 * 8 + 2 * width),  # images to shuffle, keys to put back, keys for the queue
        "simclr": 64 * 2 * width,  # embeddings of both views
    }
    assert f"keys and images {4 * floats[method] / 2**20:.2f} MiB" in done.stdout
    assert ("--precision bf16: " in done.stdout) == (method == "simclr")


@pytest.mark.long
def test_invalid_argument_is_one_line_error(tmp_path: Path) -> None:
    for words, error in (
        (("--seconds", "0"), "error: --seconds 0: must be above 0"),
        (("--method", "mocco"), "error: --method mocco: no such method; did you mean moco"),
        (("--secconds", "3"), "error: Unrecognized options: --secconds, 3; did you mean --seconds?"),
    ):
        done = run(tmp_path, *words)
        assert done.returncode == 2
        assert done.stderr.strip().startswith(error)
        assert len(done.stderr.strip().splitlines()) == 1
