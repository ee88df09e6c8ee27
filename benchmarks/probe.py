"""Cost of a linear probe: on cached features, with the encoder in every epoch, and on augmented images.

    python benchmarks/probe.py --backbone resnet18 --img-size 32
    python benchmarks/probe.py --backbone resnet18 --dataset cifar10 --dataset.path data/cifar10 --dataset.limit 5000

Accepts the flags of `run.py evaluate`; the encoder has random weights, which do not affect the time. Probes on cached
features are timed for 100 epochs; the other two are timed for a few epochs and extrapolated.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rounds import DEVICE

from sslzoo.data.load import load_data
from sslzoo.evaluation.augmented import AugmentedProbe
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.encoder import create_encoder, load_features
from sslzoo.evaluation.images import get_labels, select_labeled_images
from sslzoo.evaluation.linear import LinearProbe
from sslzoo.evaluation.transform import choose_transform
from sslzoo.plan.clock import synchronize
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import create_accelerator, prepare_cpu

REPEATS = 3
TIMED_EPOCHS = 2
EPOCHS = 100


def measure_seconds(work: Callable[[], object]) -> float:
    """Measure the seconds of a call."""
    synchronize(DEVICE)
    start = time.perf_counter()
    work()
    synchronize(DEVICE)
    return time.perf_counter() - start


def main(words: list[str]) -> None:
    """Time the three kinds of probe and print a table."""
    ((_, job),) = compose_jobs(["--untrained", *words], prog="benchmarks/probe.py")
    prepare_cpu(job.threads)
    accelerator = create_accelerator(job.precision)
    quiet, console = Console(quiet=True), Console()
    data = load_data(job.dataset)
    train, test = select_labeled_images(data, job)
    transform = choose_transform(job)
    encoder, _ = create_encoder(job, transform)
    encoder.to(accelerator.device)

    def extract() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fresh = job.model_copy(update={"dataset": job.dataset.model_copy(update={"cache_dir": Path(folder)})})
            load_features(fresh, encoder, transform, train, test.subset(np.arange(1)), accelerator, quiet)

    with tempfile.TemporaryDirectory() as folder:
        cached_job = job.model_copy(update={"dataset": job.dataset.model_copy(update={"cache_dir": Path(folder)})})
        evaluated = load_features(cached_job, encoder, transform, train, test, accelerator, quiet)
    learn = np.arange(len(train))
    features, labels = (part.to(accelerator.device) for part in (evaluated.train_features, get_labels(train)))
    grid = job.evaluation.linear.model_copy(update={"epochs": EPOCHS})
    few = grid.model_copy(update={"epochs": TIMED_EPOCHS})
    cached = LinearProbe(features, labels, features[:1], evaluated.classes, grid, seed=0)
    plain = replace(evaluated, probe=transform.augmentation)
    again, augmented = (AugmentedProbe(case, few, seed=0) for case in (plain, evaluated))

    def fit(probe: AugmentedProbe) -> None:
        probe.predict(learn, learn[:1])
        evaluated.checkpoints.delete_opened()  # so that the next repeat trains again

    rounds: list[dict[str, float]] = []
    for _ in range(REPEATS):  # each round times all, so that ratios compare the same conditions
        once, heads = measure_seconds(extract), measure_seconds(lambda: cached.predict(learn, learn[:1]))
        rounds.append(
            {
                "encoder once, heads on cached features": once + heads,
                "  of which the encoder": once,
                "  of which the heads": heads,
                "encoder in every epoch, no augmentation": measure_seconds(lambda: fit(again)) * EPOCHS / TIMED_EPOCHS,
                "encoder in every epoch, crop and flip": measure_seconds(lambda: fit(augmented))
                * EPOCHS
                / TIMED_EPOCHS,
            }
        )
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{EPOCHS} epochs, {len(grid.settings())} settings at once")
    for column in ("seconds", "ratio", "from - to"):
        table.add_column(column, justify="right")
    base = next(iter(rounds[0]))
    for name in rounds[0]:
        ratios = [times[name] / times[base] for times in rounds]
        table.add_row(
            name,
            f"{statistics.median(times[name] for times in rounds):.2f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} - {max(ratios):.2f}",
        )
    console.print(table)
    console.print(
        f"({job.backbone.name}, {transform.augmentation.size} px, {len(train):,} images of {job.dataset.name}, "
        f"{features.shape[1]} features; {device_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"medians of {REPEATS} rounds; the last two are {TIMED_EPOCHS} epochs times {EPOCHS // TIMED_EPOCHS})",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
