"""The whole program on a GPU, in stages that fit a card which is at hand for minutes.

    python benchmarks/gpu.py check                           # kernels, every method, resume, profile of a step
    python benchmarks/gpu.py speed                           # images/s by batch size and mode
    python benchmarks/gpu.py train --data data/cifar10       # MoCo and ASCL on CIFAR-10, 200 epochs, seed after seed

`check` and `speed` work on random images and need no data. `train` runs the commands of `run.py` one after the other
until `--seconds` are over; a run that did not finish resumes where it stopped when the same command is given again.
Results go to `--out`: one JSON file a stage, and after every finished run `runs.tar.gz` with the configs, metrics,
summaries and plots of all.

Nothing is fetched. Where packages are missing, `--wheels FOLDER` installs them from files. On a CPU the same stages run
scaled down, which shows that they work and nothing else.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sslzoo.experiment.schema import Experiment
    from sslzoo.train.step import Stepper

ROOT = Path(__file__).resolve().parents[1]
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
FLOPS_PER_IMAGE = 4 * 1.113e9
"""Of ResNet-18 at 32 pixels with its stem for small images: forward and backward of the query, forward of the key."""
NARROW = ["--backbone.kwargs", "{channels: [8, 16, 16, 16], zero_init_last: false}"]
KNN_200 = ["--evaluation.knn-k", "200", "--evaluation.knn-temperature", "0.1"]
"""The kNN that MoCo's authors report; others choose k and temperature on a held-out part of train."""
TRAIN = {
    "moco-authors": ["--config", "paper/moco-cifar10", *KNN_200],
    "ascl-authors": [
        *("--config", "paper/moco-cifar10", "--target", "adaptive-soft", *KNN_200),
        *("--method.views", "strong", "weak", "--augmentations.weak.crop-scale", "0.08", "1.0"),
    ],
    "moco": ["--method", "moco", "--dataset", "cifar10"],
    "ascl": ["--method", "ascl", "--dataset", "cifar10"],
}
"""MoCo as its authors have it, ASCL in the same setting, and both in the setting of ASCL's authors."""


MODES = {
    "graph": [],
    "plain": ["--cuda-graph", "false"],
    "no split batch norm": ["--method.split-bn", "1", "--method.shuffle", "false"],
    "compiled": ["--compile"],
}
"""Flags of what `speed` compares."""


class Report:
    """Lines for a person and values for a file, both written as they come."""

    def __init__(self, file: Path) -> None:
        self.file, self.values = file, dict[str, Any]()
        self.began = time.monotonic()

    def add(self, name: str, value: Any) -> None:
        """Note a value."""
        self.values[name] = value
        print(f"[{time.monotonic() - self.began:6.1f} s] {name}: {value}", flush=True)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.values, indent=2))

    def attempt(self, name: str, work: Callable[[], object]) -> bool:
        """Do something, and note an exception instead of ending; whether there was none."""
        try:
            work()
        except Exception as error:
            self.add(name, f"FAILED: {type(error).__name__}: {str(error)[:300]}")
            traceback.print_exc(limit=-4)
            return False
        return True


def install(wheels: Path) -> None:
    """Install packages from files into a folder of this process and of its children."""
    folder = Path(tempfile.gettempdir()) / "sslzoo-wheels"
    files = [str(file) for file in sorted(wheels.glob("*.whl"))]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
    subprocess.run([*pip, "--target", str(folder), *files], check=True)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


def cifar_like(*flags: str) -> "Experiment":
    """The recipe for CIFAR-10; narrow and with small batches on a CPU."""
    from sslzoo.experiment.compose import compose

    small = [] if CUDA else [*NARROW, "--method.queue-size", "256"] if "moco" in flags or "ascl" in flags else NARROW
    return compose(["--dataset", "cifar10", "--knn-every", "0", "--epochs", "200", *small, *flags])


def create_stepper(experiment: "Experiment", images: int = 50_000 if CUDA else 512) -> "Stepper":
    """A learner on random images, ready for its first step."""
    import numpy as np
    from accelerate.state import AcceleratorState

    from sslzoo.data.images import Images, Indices
    from sslzoo.data.load import Data
    from sslzoo.data.skipped import Skipped
    from sslzoo.train.monitor import IntervalMeans
    from sslzoo.train.setup import create_learner, resolve_auto, start_accelerator
    from sslzoo.train.step import Stepper

    class RandomImages(Images):
        """Smooth noise, labeled."""

        decoded, channels, fingerprint = True, 3, "random"

        def __init__(self) -> None:
            random = np.random.default_rng(0)
            self.ids, self.classes = np.arange(images), [str(label) for label in range(10)]
            self.labels = random.integers(0, 10, images)
            self.pixels = random.integers(0, 256, (images, 3, 8, 8), dtype=np.uint8).repeat(4, axis=2).repeat(4, axis=3)

        def stacked(self) -> Any:
            return self.pixels

        def gather(self, indices: Indices) -> Any:
            sizes = torch.full((len(indices), 2), 32)
            return self._batch(torch.from_numpy(self.pixels[indices]), sizes, indices)

    AcceleratorState._reset_state()
    accelerator = start_accelerator(experiment)
    experiment = resolve_auto(experiment, accelerator)
    train = RandomImages()
    data = Data(train, train, None, train.classes, Skipped(0))
    learner = create_learner(experiment, data, accelerator)
    learner.model.train()
    return Stepper(experiment, train, learner, accelerator, IntervalMeans())


def run_steps(stepper: "Stepper", count: int) -> list[float]:
    """Losses of the coming steps."""
    losses = []
    while count:
        epoch, place = divmod(stepper.step, stepper.per_epoch)
        if place == 0:
            stepper.method.before_epoch(epoch)
        batches = stepper.batches(epoch, skip=place)
        for _ in range(min(count, stepper.per_epoch - place)):
            losses.append(stepper.optimize(batches, epoch).loss.clone())
            count -= 1
    stepper.finite.raise_pending()
    return torch.stack(losses).tolist()


def wait() -> None:
    """Wait until the device has finished."""
    if CUDA:
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], repeats: int = 20) -> float:
    """Seconds of one call, the mean of several after three."""
    for _ in range(3):
        work()
    wait()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - began) / repeats


def check_views(report: Report) -> None:
    """The view kernel against torch's operations on the CPU, and how fast it is."""
    from sslzoo.data.augment.config import Augmentation
    from sslzoo.data.augment.sampling import sample_parameters
    from sslzoo.data.augment.view import create_view
    from sslzoo.data.batch import Batch
    from sslzoo.experiment.compose import compose

    def random_batch(augmentation: Augmentation, count: int, side: int) -> Batch:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
        sizes, ids = torch.full((count, 2), side), torch.arange(count)
        return Batch(pixels, sizes, ids, ids, (sample_parameters(augmentation, sizes, ids, seed=0, epoch=0, view=0),))

    for dataset, count, side in (("cifar10", 512, 32), ("imagenet-1k", 256, 400)):
        experiment = compose(["--method", "ascl", "--dataset", dataset])
        mean, std = experiment.dataset.mean, experiment.dataset.std

        def make(augmentation: Augmentation, batch: Batch, mean: Any = mean, std: Any = std) -> torch.Tensor:
            compiled = batch.pixels.device.type == "cuda"
            return create_view(augmentation, batch, seed=0, epoch=0, view=0, mean=mean, std=std, compiled=compiled)

        for name in experiment.method.views:
            augmentation = experiment.augmentation(name)
            few, many = (
                random_batch(augmentation, 32, side),
                random_batch(augmentation, count if CUDA else 4, side).to(DEVICE),
            )
            difference = (make(augmentation, few.to(DEVICE)).cpu() - make(augmentation, few)).abs()
            report.add(
                f"views {dataset} {name}",
                {
                    "largest difference": float(difference.max()),
                    "share above 1e-3": float((difference > 1e-3).float().mean()),
                    "images/s": round(len(many.ids) / seconds_of(partial(make, augmentation, many))),
                },
            )


def check_norm(report: Report) -> None:
    """Split batch norm by its kernels against chunk by chunk in float64, and the time of both in bf16."""
    from sslzoo.modules.batch_norm import SplitBatchNorm2d

    torch.manual_seed(0)
    x = torch.randn(512 if CUDA else 16, 64, 32, 32, device=DEVICE).to(memory_format=torch.channels_last)
    norm = SplitBatchNorm2d(torch.nn.BatchNorm2d(64), 8).to(DEVICE)
    norm.act = torch.nn.ReLU()

    def both_ways(x: torch.Tensor, normalize: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
        image = x.clone().requires_grad_()
        y = normalize(image)
        y.backward(x)  # type: ignore[no-untyped-call]
        assert image.grad is not None
        return [y.detach(), image.grad]

    few = x[:64].bfloat16()
    made = both_ways(few, norm)
    norm.double()
    exact = both_ways(few.double(), lambda image: norm.act(norm._normalize_each(image)))
    norm.float()
    errors = [float((one - other).norm() / other.norm()) for one, other in zip(made, exact, strict=True)]
    half = x.bfloat16()
    report.add(
        "split batch norm",
        {
            "relative errors of output and gradient, bf16": errors,
            "ms": 1e3 * seconds_of(lambda: both_ways(half, norm)),
            "ms chunk by chunk": 1e3 * seconds_of(lambda: both_ways(half, lambda x: norm.act(norm._normalize_each(x)))),
        },
    )


def check_methods(report: Report, deadline: float, names: list[str]) -> None:
    """Some steps of every method: replayed as a CUDA graph against run as they are, in bf16, and in fp16."""
    from sslzoo.method.base import METHODS

    different = dict[str, float]()

    def losses(name: str, *flags: str) -> list[float]:
        return run_steps(create_stepper(cifar_like("--method", name, "--batch-size", "64", *flags), images=4096), 6)

    def run(name: str) -> None:
        replayed = losses(name, "--precision", "bf16")
        plain = losses(name, "--precision", "bf16", "--cuda-graph", "false")
        if replayed != plain:
            different[name] = max(abs(one - other) for one, other in zip(replayed, plain, strict=True))
        if CUDA:
            losses(name, "--precision", "fp16")

    failed, unchecked = [], []
    for name in names or METHODS.names():
        if time.monotonic() > deadline:
            unchecked.append(name)
        elif not report.attempt(f"method {name}", partial(run, name)):
            failed.append(name)
    report.add("methods", {"failed": failed, "replayed differs by": different, "no time for": unchecked})


def check_resume(report: Report) -> None:
    """Whether ten steps are bit-identical to five, saved and resumed in another learner, and five more."""
    from sslzoo.runtime.distributed import state_digest

    digests = {}
    for precision in ("bf16", "fp32"):
        flags = ["--method", "ascl", "--batch-size", "256" if CUDA else "32", "--precision", precision]
        whole, half, other = (create_stepper(cifar_like(*flags)) for _ in range(3))
        run_steps(whole, 10)
        run_steps(half, 5)
        other.method.load_state_dict(half.method.state_dict())
        other.learner.optimizer.load_state_dict(half.learner.optimizer.state_dict())
        other.step = 5
        run_steps(other, 5)
        digests[precision] = [state_digest(stepper.method) for stepper in (whole, other)]
    report.add("resume bit-identical", {precision: one == two for precision, (one, two) in digests.items()})


def check_profile(report: Report) -> None:
    """Kernels of a step and what they take."""
    from torch.profiler import ProfilerActivity, profile

    stepper = create_stepper(
        cifar_like("--method", "ascl", "--batch-size", "512" if CUDA else "32", "--precision", "bf16")
    )
    run_steps(stepper, 6)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])]
    with profile(activities=activities) as profiler:
        run_steps(stepper, 3)
    kernels = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    by_name: dict[str, list[float]] = {}
    for kernel in kernels:
        by_name.setdefault(kernel.name[:90], []).append(kernel.time_range.elapsed_us())
    report.add("kernels a step", round(len(kernels) / 3))
    report.add("kernel ms a step", round(sum(map(sum, by_name.values())) / 3e3, 3))
    for name, times in sorted(by_name.items(), key=lambda item: -sum(item[1]))[:25]:
        report.add(f"kernel {name}", f"{sum(times) / 3e3:.3f} ms, {len(times) // 3} launches")


def check(report: Report, asked: argparse.Namespace) -> None:
    """Stage (a)."""
    deadline = time.monotonic() + asked.seconds
    parts = {"views": check_views, "norm": check_norm, "profile": check_profile, "resume": check_resume}
    for name in asked.parts:
        report.attempt(name, partial(parts[name], report))
    check_methods(report, deadline, asked.methods)


def speed(report: Report, asked: argparse.Namespace) -> None:
    """Stage (b): images a second of whole steps on random images."""
    deadline = time.monotonic() + asked.seconds
    batches = (512, 256) if CUDA else (32,)
    cases = [(method, batch, mode) for mode in asked.modes for method in ("ascl", "moco") for batch in batches]
    for method, batch, mode in cases:
        name = f"{method}, batch {batch}, {mode}"
        if time.monotonic() > deadline:
            report.add(name, "no time for it")
        else:
            report.attempt(name, partial(measure_speed, report, name, method, batch, MODES[mode]))


def measure_speed(report: Report, name: str, method: str, batch: int, flags: list[str]) -> None:
    """Images a second of one mode."""
    began = time.monotonic()
    stepper = create_stepper(cifar_like("--method", method, "--batch-size", str(batch), "--precision", "bf16", *flags))
    run_steps(stepper, 8)
    wait()
    ready, count = time.monotonic() - began, 40 if CUDA else 2
    began = time.perf_counter()
    run_steps(stepper, count)
    wait()
    rate = count * batch / (time.perf_counter() - began)
    report.add(
        name,
        {
            "images/s": round(rate),
            "TFLOP/s": round(rate * FLOPS_PER_IMAGE / 1e12, 1),
            "minutes of 200 epochs": round(200 * 50_000 / rate / 60, 2),
            "ready after": round(ready, 1),
            "peak GiB": round(torch.cuda.max_memory_allocated() / 2**30, 1) if CUDA else None,
        },
    )
    del stepper
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def train(report: Report, asked: argparse.Namespace) -> None:
    """Stage (c): runs of `run.py`, one seed after the other, for as long as they fit."""
    deadline = time.monotonic() + asked.seconds
    longest = 0.0
    for number, name in [(number, name) for number in range(asked.seeds) for name in asked.train]:
        folder = asked.runs / f"{name}-{number}"
        if (folder / "summary.json").exists():
            continue
        if time.monotonic() + 1.1 * longest > deadline:
            report.add(f"{name}, seed {number}", "no time for it")
            continue
        words = [*TRAIN[name], "--dataset.path", str(asked.data.resolve()), "--seed", str(number)]
        words += ["--run-folder", str(folder), "--resume", "auto", "--log-every", "100"]
        words += ["--precision", "bf16", "--knn-every", "50"] if CUDA else scaled_down()
        words += asked.flags.split()
        began = time.monotonic()
        done = subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, check=False)
        longest = max(longest, time.monotonic() - began)
        if done.returncode:
            report.add(f"{name}, seed {number}", f"exit status {done.returncode}")
            continue
        report.add(f"{name}, seed {number}", figures(folder) | {"seconds": round(time.monotonic() - began, 1)})
        save_runs(asked.runs, asked.out / "runs.tar.gz")
        save_half(folder, asked.out)


def scaled_down() -> list[str]:
    """A hundredth of CIFAR-10 for a CPU."""
    size = ["--dataset.limit", "500", "--dataset.test-limit", "100", "--epochs", "2", "--batch-size", "64"]
    return [
        *size,
        *NARROW,
        "--method.queue-size",
        "128",
        "--schedule.warmup-epochs",
        "0",
        "--knn-every",
        "0",
        "--precision",
        "fp32",
    ]


def figures(folder: Path) -> dict[str, Any]:
    """Scores and cost of a finished run."""
    summary = json.loads((folder / "summary.json").read_text())
    trained = summary["test"]["trained"]
    return {
        "epochs": summary["epochs"],
        **{name: 100 * score["accuracy"] for name, score in trained.items() if isinstance(score, dict)},
        "training seconds": summary["train_seconds"],
        "images/s": summary["images_per_second"],
    }


def save_runs(runs: Path, archive: Path) -> None:
    """All runs but their weights, in one file."""
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(runs.glob("*/*")):
            if file.is_file() and file.suffix != ".safetensors":
                tar.add(file, file.relative_to(runs))


def save_half(run: Path, out: Path) -> None:
    """The backbone of a run in float16, in files of at most 15 MiB."""
    from safetensors.torch import load_file, save_file

    files: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in load_file(run / "backbone.safetensors").items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if sum(part.nbytes for part in files[-1].values()) + half.nbytes > 15 * 2**20:
            files.append({})
        files[-1][name] = half
    for number, tensors in enumerate(files):
        save_file(tensors, out / f"{run.name}-backbone-{number}.safetensors")


def main() -> None:
    """Run the stages that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=["check", "speed", "train"])
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--runs", type=Path, default=Path("gpu/runs"), help="run folders of `train`")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as parquet files")
    parser.add_argument("--wheels", type=Path, help="folder of packages that are not installed")
    parser.add_argument("--seconds", type=float, default=120, help="after which a stage starts nothing more")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--flags", default="", help="further flags of every run of `train`")
    parser.add_argument("--train", nargs="*", default=list(TRAIN), choices=list(TRAIN), help="runs of `train`")
    parser.add_argument("--parts", nargs="*", default=["views", "norm", "profile", "resume"], help="of `check`")
    parser.add_argument("--methods", nargs="*", default=[], help="that `check` tries; all where none is named")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES), help="of `speed`")
    asked = parser.parse_args()
    if "train" in asked.stages and asked.data is None:
        parser.error("train needs --data")
    if asked.wheels is not None:
        install(asked.wheels)
    sys.path.insert(0, str(ROOT))
    asked.runs = asked.runs.resolve()
    for stage in asked.stages:
        report = Report(asked.out / f"{stage}.json")
        name = torch.cuda.get_device_name() if CUDA else "CPU, SCALED DOWN"
        report.add("device", f"{name}, torch {torch.__version__}")
        {"check": check, "speed": speed, "train": train}[stage](report, asked)


if __name__ == "__main__":
    main()
