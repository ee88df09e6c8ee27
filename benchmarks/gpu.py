"""Checks, speed and training on a GPU, in stages that fit into a few minutes.

    python benchmarks/gpu.py check                           # kernels, every method, resume, profile of a step
    python benchmarks/gpu.py speed                           # images/s by batch size and mode
    python benchmarks/gpu.py train --data data/cifar10       # MoCo and ASCL on CIFAR-10, 200 epochs, several seeds

`check` and `speed` use random images and need no data. `train` executes runs of `run.py` one after another until
`--seconds` have passed; the same command resumes an unfinished run. Results are written to `--out`: one JSON file per
stage, and after each run, finished or not, `runs.tar.gz` with the configs, metrics, summaries and plots of all runs.

Nothing is downloaded. If packages are missing, `--wheels FOLDER` installs them from files. On a CPU the stages run
scaled down, which only tests that they work.
"""

import argparse
import gc
import json
import os
import signal
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
    from sslzoo.training.step import Stepper

ROOT = Path(__file__).resolve().parents[1]
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
FLOPS_PER_IMAGE = 4 * 1.113e9
"""ResNet-18 at 32 pixels with the stem for small images: forward and backward of the query, forward of the key."""
NARROW = ["--backbone.kwargs", "{channels: [8, 16, 16, 16], zero_init_last: false}"]
KNN_200 = ["--evaluation.knn-k", "200", "--evaluation.knn-temperature", "0.1"]
"""kNN as reported by MoCo's authors; other runs choose k and temperature on a held-out part of train."""
TRAIN = {
    "moco-authors": ["--config", "paper/moco-cifar10", *KNN_200],
    "ascl-authors": [
        *("--config", "paper/moco-cifar10", "--target", "adaptive-soft", *KNN_200),
        *("--method.views", "strong", "weak", "--augmentations.weak.crop-scale", "0.08", "1.0"),
    ],
    "moco": ["--method", "moco", "--dataset", "cifar10"],
    "ascl": ["--method", "ascl", "--dataset", "cifar10"],
    "emp-ssl": ["--method", "emp-ssl", "--dataset", "cifar10", "--epochs", "1"],
}
"""MoCo with its authors' settings, ASCL with the same settings, both with the settings of ASCL's authors, and EMP-SSL
with those of its authors."""
EVALUATE = {
    "emp-ssl": ["--protocol", "linear", "--crops", "128" if CUDA else "2", "--projector-layers", "1"],
}
"""Flags of a further evaluation of a run, as its method's authors evaluate."""

MODES = {
    "graph": [],
    "plain": ["--cuda-graph", "false"],
    "no split batch norm": ["--method.split-bn", "1", "--method.shuffle", "false"],
    "compiled": ["--compile"],
}
"""Flags of the modes that `speed` compares."""


class Report:
    """Prints values as lines and writes them to a JSON file."""

    def __init__(self, file: Path) -> None:
        self.file, self.values = file, dict[str, Any]()
        self.start = time.monotonic()

    def add(self, name: str, value: Any) -> None:
        """Add a value, print it and update the file."""
        self.values[name] = value
        print(f"[{time.monotonic() - self.start:6.1f} s] {name}: {value}", flush=True)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.values, indent=2))

    def attempt(self, name: str, work: Callable[[], object]) -> bool:
        """Call a function, report an exception as a value, and return whether it succeeded."""
        try:
            work()
        except Exception as error:
            self.add(name, f"FAILED: {type(error).__name__}: {str(error)[:300]}")
            traceback.print_exc(limit=-4)
            return False
        return True


def install(wheels: Path) -> None:
    """Install packages from files into a temporary folder on the path of this process and its children."""
    folder = Path(tempfile.gettempdir()) / "sslzoo-wheels"
    files = [str(file) for file in sorted(wheels.glob("*.whl"))]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
    subprocess.run([*pip, "--target", str(folder), *files], check=True)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


def compose_cifar10(*flags: str) -> "Experiment":
    """Compose the recipe for CIFAR-10; on a CPU with a narrow backbone and a small queue."""
    from sslzoo.experiment.compose import compose

    small = [] if CUDA else [*NARROW, "--method.queue-size", "256"] if "moco" in flags or "ascl" in flags else NARROW
    return compose(["--dataset", "cifar10", "--knn-every", "0", "--epochs", "200", *small, *flags])


def create_stepper(experiment: "Experiment", images: int = 50_000 if CUDA else 512) -> "Stepper":
    """Create a stepper on random images, ready for its first step."""
    import numpy as np
    from accelerate.state import AcceleratorState

    from sslzoo.data.images import Images, Indices
    from sslzoo.data.load import Data
    from sslzoo.data.skipped import Skipped
    from sslzoo.training.monitor import IntervalMeans
    from sslzoo.training.setup import create_learner, resolve_auto, start_accelerator
    from sslzoo.training.step import Stepper

    class RandomImages(Images):
        """Labeled smooth noise."""

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
    data = Data(experiment.dataset, train, train, None, train.classes, Skipped(0))
    learner = create_learner(experiment, data, accelerator)
    learner.model.train()
    return Stepper(experiment, train, learner, accelerator, IntervalMeans())


def run_steps(stepper: "Stepper", count: int) -> list[float]:
    """Run steps and return their losses."""
    losses = []
    while count:
        epoch, index = divmod(stepper.step, stepper.steps_per_epoch)
        if index == 0:
            stepper.method.before_epoch(epoch)
        batches = stepper.batches.load_epoch(epoch, skip_steps=index)
        for _ in range(min(count, stepper.steps_per_epoch - index)):
            losses.append(stepper.train_step(batches, epoch).loss.clone())
            count -= 1
    stepper.finite_check.raise_pending()
    return torch.stack(losses).tolist()


def synchronize() -> None:
    """Wait until the GPU has finished its work; does nothing on a CPU."""
    if CUDA:
        torch.cuda.synchronize()


def measure_seconds(work: Callable[[], object], repeats: int = 20) -> float:
    """Measure the mean seconds of a call, after three calls as a warm-up."""
    for _ in range(3):
        work()
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize()
    return (time.perf_counter() - start) / repeats


def check_views(report: Report) -> None:
    """Compare the augmentation kernel with torch's operations on the CPU, and measure its speed."""
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

        def create(augmentation: Augmentation, batch: Batch, mean: Any = mean, std: Any = std) -> torch.Tensor:
            compiled = batch.pixels.device.type == "cuda"
            return create_view(augmentation, batch, seed=0, epoch=0, view=0, mean=mean, std=std, compiled=compiled)

        for name in experiment.method.views:
            augmentation = experiment.augmentation(name)
            few, many = (
                random_batch(augmentation, 32, side),
                random_batch(augmentation, count if CUDA else 4, side).to(DEVICE),
            )
            difference = (create(augmentation, few.to(DEVICE)).cpu() - create(augmentation, few)).abs()
            report.add(
                f"views {dataset} {name}",
                {
                    "largest difference": float(difference.max()),
                    "share above 1e-3": float((difference > 1e-3).float().mean()),
                    "images/s": round(len(many.ids) / measure_seconds(partial(create, augmentation, many))),
                },
            )


def check_norm(report: Report) -> None:
    """Compare the kernels of batch norm with chunk-by-chunk float64, and measure both in bf16."""
    for splits in (8, 1):
        report.attempt(f"batch norm, {splits} chunks", partial(check_split_norm, report, splits))


def check_split_norm(report: Report, splits: int) -> None:
    """Check and measure batch norm over a number of chunks."""
    from sslzoo.modules.batch_norm import SplitBatchNorm2d

    torch.manual_seed(0)
    x = torch.randn(512 if CUDA else 16, 64, 32, 32, device=DEVICE).to(memory_format=torch.channels_last)
    norm = SplitBatchNorm2d(torch.nn.BatchNorm2d(64), splits).to(DEVICE)
    norm.act = torch.nn.ReLU()

    def run_forward_backward(x: torch.Tensor, normalize: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
        image = x.clone().requires_grad_()
        y = normalize(image)
        y.backward(x)  # type: ignore[no-untyped-call]
        assert image.grad is not None
        return [y.detach(), image.grad]

    few = x[:64].bfloat16()
    computed = run_forward_backward(few, norm)
    norm.double()
    exact = run_forward_backward(few.double(), lambda image: norm.act(norm._normalize_each(image)))
    norm.float()
    errors = [float((one - other).norm() / other.norm()) for one, other in zip(computed, exact, strict=True)]
    half = x.bfloat16()
    report.add(
        f"batch norm, {splits} chunks",
        {
            "relative errors of output and gradient, bf16": errors,
            "ms": 1e3 * measure_seconds(lambda: run_forward_backward(half, norm)),
            "ms chunk by chunk": 1e3
            * measure_seconds(lambda: run_forward_backward(half, lambda x: norm.act(norm._normalize_each(x)))),
        },
    )


def check_methods(report: Report, deadline: float, names: list[str]) -> None:
    """Run steps of every method: as a CUDA graph and without one, which must agree, in bf16; and in fp16."""
    from sslzoo.method.base import METHODS

    differences = dict[str, float]()

    def compute_losses(name: str, *flags: str) -> list[float]:
        batch = "128" if name == "w-mse" else "64"  # a multiple of its sub-batches
        return run_steps(
            create_stepper(compose_cifar10("--method", name, "--batch-size", batch, *flags), images=4096), 6
        )

    def run(name: str) -> None:
        replayed = compute_losses(name, "--precision", "bf16")
        plain = compute_losses(name, "--precision", "bf16", "--cuda-graph", "false")
        if replayed != plain:
            differences[name] = max(abs(one - other) for one, other in zip(replayed, plain, strict=True))
        if CUDA:
            compute_losses(name, "--precision", "fp16")

    failed, unchecked = [], []
    for name in names or METHODS.names():
        if time.monotonic() > deadline:
            unchecked.append(name)
        elif not report.attempt(f"method {name}", partial(run, name)):
            failed.append(name)
    report.add("methods", {"failed": failed, "graph differs by": differences, "not enough time": unchecked})


def check_resume(report: Report) -> None:
    """Check that ten steps are bit-identical to five steps, saving, loading, and five more."""
    from sslzoo.runtime.distributed import state_digest

    digests = {}
    for precision in ("bf16", "fp32"):
        flags = ["--method", "ascl", "--batch-size", "256" if CUDA else "32", "--precision", precision]
        whole, half, other = (create_stepper(compose_cifar10(*flags)) for _ in range(3))
        run_steps(whole, 10)
        run_steps(half, 5)
        other.method.load_state_dict(half.method.state_dict())
        other.learner.optimizer.load_state_dict(half.learner.optimizer.state_dict())
        other.step = 5
        run_steps(other, 5)
        digests[precision] = [state_digest(stepper.method) for stepper in (whole, other)]
    report.add("resume bit-identical", {precision: one == two for precision, (one, two) in digests.items()})


def check_profile(report: Report) -> None:
    """Profile the kernels of a step."""
    from torch.profiler import ProfilerActivity, profile

    stepper = create_stepper(
        compose_cifar10("--method", "ascl", "--batch-size", "512" if CUDA else "32", "--precision", "bf16")
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
    """Run the stage `check`."""
    deadline = time.monotonic() + asked.seconds
    parts = {"views": check_views, "norm": check_norm, "profile": check_profile, "resume": check_resume}
    for name in asked.parts:
        report.attempt(name, partial(parts[name], report))
    check_methods(report, deadline, asked.methods)


def speed(report: Report, asked: argparse.Namespace) -> None:
    """Run the stage `speed`: images per second of training steps on random images."""
    deadline = time.monotonic() + asked.seconds
    cases = [(method, batch, mode) for mode in asked.modes for method in ("ascl", "moco") for batch in asked.batches]
    for method, batch, mode in cases:
        name = f"{method}, batch {batch}, {mode}"
        if time.monotonic() > deadline:
            report.add(name, "not enough time")
        else:
            report.attempt(name, partial(measure_speed, report, name, method, batch, MODES[mode]))


def measure_speed(report: Report, name: str, method: str, batch: int, flags: list[str]) -> None:
    """Measure the images per second of one mode."""
    start = time.monotonic()
    stepper = create_stepper(
        compose_cifar10("--method", method, "--batch-size", str(batch), "--precision", "bf16", *flags)
    )
    run_steps(stepper, 8)
    synchronize()
    ready, count = time.monotonic() - start, 40 if CUDA else 2
    start = time.perf_counter()
    run_steps(stepper, count)
    synchronize()
    rate = count * batch / (time.perf_counter() - start)
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
    """Run the stage `train`: runs of `run.py`, one seed after another, as long as time remains."""
    deadline = time.monotonic() + asked.seconds
    longest = 0.0
    for number, name in [(number, name) for number in asked.seeds for name in asked.train]:
        folder = asked.runs / f"{name}-{number}"
        if (folder / "summary.json").exists():
            continue
        if time.monotonic() + 1.1 * longest > deadline:
            report.add(f"{name}, seed {number}", "not enough time")
            continue
        words = [*TRAIN[name], "--dataset.path", str(asked.data.resolve()), "--seed", str(number)]
        words += ["--run-folder", str(folder), "--resume", "auto", "--log-every", "100"]
        words += ["--precision", "bf16", "--knn-every", "50"] if CUDA else small_run_flags(name)
        words += asked.flags.split()
        start = time.monotonic()
        try:
            done = subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, check=False)
        finally:  # this process may be stopped after the training and before the end of the evaluation
            save_runs(asked.runs, asked.out / "runs.tar.gz")
            save_half_backbone(folder, asked.out)
        longest = max(longest, time.monotonic() - start)
        if done.returncode:
            report.add(f"{name}, seed {number}", f"exit status {done.returncode}")
        else:
            report.add(f"{name}, seed {number}", read_results(folder) | {"seconds": round(time.monotonic() - start, 1)})
            if name in EVALUATE:
                report.add(f"{name}, seed {number}, as its authors evaluate", evaluate_as_authors(folder, name))


def evaluate_as_authors(folder: Path, name: str) -> dict[str, float] | str:
    """Evaluate a finished run with the flags in `EVALUATE`; return accuracies in percent, or the exit status."""
    result = folder / "as-authors"
    words = [sys.executable, "run.py", "evaluate", str(folder), *EVALUATE[name], "--folder", str(result)]
    done = subprocess.run(words, cwd=ROOT, check=False)
    if done.returncode:
        return f"exit status {done.returncode}"
    scores = json.loads((result / "result.json").read_text())["protocols"]["linear"]
    return read_accuracies(scores)


def read_accuracies(scores: dict[str, Any]) -> dict[str, float]:
    """Read the accuracies in percent from the scores of an encoder, by classifier."""
    return {name: 100 * score["accuracy"] for name, score in scores.items() if isinstance(score, dict)}


def small_run_flags(name: str) -> list[str]:
    """Return the flags of a small run for a CPU, with a hundredth of CIFAR-10."""
    size = ["--dataset.limit", "500", "--dataset.test-limit", "100", "--epochs", "2", "--batch-size", "64"]
    queue = [] if name == "emp-ssl" else ["--method.queue-size", "128"]
    return [*size, *NARROW, *queue, "--schedule.warmup-epochs", "0", "--knn-every", "0", "--precision", "fp32"]


def read_results(folder: Path) -> dict[str, Any]:
    """Read scores and cost of a finished run."""
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "epochs": summary["epochs"],
        **read_accuracies(summary["test"]["trained"]),
        "training seconds": summary["train_seconds"],
        "images/s": summary["images_per_second"],
    }


def save_runs(runs: Path, archive: Path) -> None:
    """Write all runs without their weights into one archive."""
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(runs.glob("*/*")):
            if file.is_file() and file.suffix != ".safetensors":
                tar.add(file, file.relative_to(runs))


def save_half_backbone(run: Path, out: Path) -> None:
    """Save the backbone of a run in float16, if it is trained, in files of at most 15 MiB."""
    from safetensors.torch import load_file, save_file

    if not (run / "backbone.safetensors").exists():
        return
    files: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in load_file(run / "backbone.safetensors").items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if sum(part.nbytes for part in files[-1].values()) + half.nbytes > 15 * 2**20:
            files.append({})
        files[-1][name] = half
    for number, tensors in enumerate(files):
        save_file(tensors, out / f"{run.name}-backbone-{number}.safetensors")


def main() -> None:
    """Run the requested stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=["check", "speed", "train"])
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--runs", type=Path, default=Path("gpu/runs"), help="run folders of `train`")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as parquet files")
    parser.add_argument("--wheels", type=Path, help="folder with wheels of missing packages")
    parser.add_argument("--seconds", type=float, default=120, help="time after which a stage starts no further work")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2], help="seeds of `train`")
    parser.add_argument("--flags", default="", help="additional flags of all runs of `train`")
    parser.add_argument("--train", nargs="*", default=list(TRAIN), choices=list(TRAIN), help="runs of `train`")
    parser.add_argument("--parts", nargs="*", default=["views", "norm", "profile", "resume"], help="parts of `check`")
    parser.add_argument("--methods", nargs="*", default=[], help="methods of `check`; all if empty")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES), help="modes of `speed`")
    parser.add_argument("--batches", nargs="*", type=int, default=[512, 256] if CUDA else [32], help="of `speed`")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "train" in asked.stages and asked.data is None:
        parser.error("train requires --data")
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
