"""Training steps on a CPU: as they were before the defaults used the processor, by default, and with the best flags.

    python benchmarks/cpu.py
    python benchmarks/cpu.py --batch 64 --repeats 3 --cores 1

Before: fp32, contiguous convolutions, views by torch. Default: bf16 where the processor has it, channels_last for
convolutional networks, views by the compiled kernel. Best flags: `--compile` besides, which needs a C++ compiler. All
are whole steps of ASCL, from stored images to the momentum update, on scikit-learn's digits enlarged to color images.
"""

import sys
from collections.abc import Callable
from functools import partial
from shutil import which

import torch
from rich.console import Console
from rounds import Comparison, arguments, show
from step import experiment

from sslzoo.data.load import load_data
from sslzoo.plan.measure import StepRunner
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.errors import UserError

BEFORE = ("--precision", "fp32", "--compile-augmentations", "false")
ADAMW = ("--optimizer", "adamw", "--optimizer.lr", "0.001")
NETWORKS = {
    "ResNet-18, 32 pixels": (),
    "ResNet-18 of a quarter of the width, 32 pixels": ("--backbone.kwargs", "{channels: [16, 32, 64, 128]}"),
    "ViT-Tiny, 64 pixels": ("--backbone", "vit_tiny_patch16_224", "--img-size", "64", *ADAMW),
}
"""Name to flags."""


def course(batch: int, *flags: str) -> StepRunner:
    """The steps of a run."""
    chosen = experiment(batch, 1, "--method", "ascl", *flags)
    return StepRunner(chosen, load_data(chosen.dataset))


def before(batch: int, *flags: str) -> StepRunner:
    """The steps of a run as they were before."""
    made = course(batch, *flags, *BEFORE)
    made.stepper.method.to(memory_format=torch.contiguous_format)
    made.stepper.memory_format = torch.contiguous_format
    return made


def on_cores(count: int, step: Callable[[], object]) -> None:
    """Take a step with so many threads."""
    torch.set_num_threads(count)
    step()
    torch.set_num_threads(1)


def steps(batch: int, cores: list[int], flags: tuple[str, ...]) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    courses = {"before": before(batch, *flags), "default": course(batch, *flags)}
    if which("g++") or which("clang"):
        courses["best flags"] = course(batch, *flags, "--compile")
    return {
        f"{name}, {count} thread{'s' * (count > 1)}": partial(on_cores, count, made.run_step)
        for count in cores
        for name, made in courses.items()
    }


def main() -> None:
    """Time all, in turn, and print a table for each network."""
    asked = arguments(__doc__, batch=128, repeats=5, cores=(1, 2))
    console = Console()
    for name, flags in NETWORKS.items():
        work = steps(asked.batch, list(asked.cores), flags)
        title = f"a training step of ASCL, {name}, batch {asked.batch}"
        show(console, Comparison(title, "images a second", asked.batch, work), asked.repeats)
    console.print(f"torch {torch.__version__}, {device_name()}, {asked.repeats} repeats")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
