"""`run.py plan`: its clock, its sums, and the command from end to end."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sslzoo.experiment.compose import compose
from sslzoo.plan.advice import groups, hints, suggestions
from sslzoo.plan.clock import Clock
from sslzoo.plan.command import format_duration
from sslzoo.plan.estimate import estimate
from sslzoo.plan.measure import Measured

ROOT = Path(__file__).resolve().parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that a clock sees, in its first entry."""
    now = [0.0]
    monkeypatch.setattr("sslzoo.plan.clock.time.perf_counter", lambda: now[0])
    return now


def test_a_part_within_another_is_counted_once(seconds: list[float]) -> None:
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


def test_what_is_watched_is_as_it_was_afterwards(seconds: list[float]) -> None:
    class Worker:
        def work(self, time: float) -> float:
            seconds[0] += time
            return 2 * time

    worker, clock = Worker(), Clock(CPU)
    clock.watch(worker, "work", "work")
    assert [*clock.each(iter([worker.work(3)]), "items")] == [6]
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


def measured(**parts: float) -> Measured:
    steps = [0.5, 0.4, 9.0]
    return Measured(
        steps,
        parts,
        steps_per_epoch=10,
        images=64,
        host_bytes=0,
        device_bytes=None,
        received={},
        encoded_per_second=50.0,
    )


def test_the_whole_run_by_hand() -> None:
    experiment = compose(["--method", "moco", "--epochs", "20", "--knn-every", "10", "--knn-images", "100"])
    data = SimpleNamespace(labeled=range(1000), test=range(250), train=SimpleNamespace(decoded=True))
    whole = estimate(experiment, data, measured())
    assert measured().images_per_second == 128
    assert whole.training == 20 * 10 * 0.5
    assert whole.watching == 2 * 100 / 50  # epochs 10, 20
    assert whole.scoring == 2 * 1250 / 50
    assert whole.whole == 100 + 4 + 50
    without = estimate(experiment, SimpleNamespace(labeled=None, test=None), measured())
    assert without.whole == 100
    assert format_duration(3661) == "1:01:01"
    assert format_duration(360_000) == "100.0 h"


def test_what_would_help_goes_by_where_the_time_goes() -> None:
    experiment = compose(["--method", "moco", "--precision", "fp32", "--compile-augmentations", "false"])
    shares = groups(measured(data=1, augment=2, forward=3, backward=3, communication=1))
    assert shares == pytest.approx({"data": 0.1, "augment": 0.2, "compute": 0.6, "communication": 0.1})
    on_cpu = [change.flags for change in suggestions(experiment, CPU, shares, 60)]
    assert on_cpu == ["--precision bf16", "--compile-augmentations true"]
    assert [change.flags for change in suggestions(experiment, GPU, shares, 60)] == ["--precision bf16"]
    assert [change.flags for change in suggestions(experiment, GPU, shares, 6000)] == ["--precision bf16", "--compile"]
    done = compose(["--method", "moco", "--precision", "bf16", "--compile-augmentations"])
    assert not [*suggestions(done, CPU, shares, 60)]
    slow = groups(measured(data=5, forward=5, communication=5))
    kept, read = (SimpleNamespace(train=SimpleNamespace(decoded=decoded)) for decoded in (True, False))
    assert any("disk" in hint for hint in hints(experiment, kept, GPU, slow))
    assert any("--dataset.workers" in hint for hint in hints(experiment, read, GPU, slow))
    assert any("--accumulate" in hint for hint in hints(experiment, kept, GPU, slow))
    assert not [*hints(experiment, kept, GPU, groups(measured(forward=1)))]


def run(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *launcher, str(ROOT / "run.py"), "plan", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "COLUMNS": "200"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


SMALL = ["--precision", "fp32", "--threads", "1", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--seconds", "0.2"]


def test_the_command(tmp_path: Path) -> None:
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
def test_two_processes_and_what_they_tell_each_other(method: str, tmp_path: Path) -> None:
    """A process has 64 images of 8 x 8 grays."""
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
def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    for words, told in (
        (("--seconds", "0"), "error: --seconds 0: takes a number above 0"),
        (("--method", "mocco"), "error: --method mocco: no such method; did you mean moco"),
        (("--secconds", "3"), "error: Unrecognized options: --secconds, 3; did you mean --seconds?"),
    ):
        done = run(tmp_path, *words)
        assert done.returncode == 2
        assert done.stderr.strip().startswith(told)
        assert len(done.stderr.strip().splitlines()) == 1
