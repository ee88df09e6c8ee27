"""Training steps on a CPU with plain settings, with the defaults, and with the best flags.

    python benchmarks/cpu.py
    python benchmarks/cpu.py --batch 64 --repeats 3 --cores 1

Plain: fp32, contiguous convolutions, augmentations in torch. Default: bf16 if the processor supports it, channels_last
for convolutional networks, the compiled augmentation kernel. Best flags: `--compile` in addition, which needs a C++
compiler. All are complete steps of ASCL, from stored images to the momentum update, on the digits of scikit-learn,
enlarged and in color. The allocator is that of a training run in all of them.
"""

import sys
from collections.abc import Callable
from functools import partial
from shutil import which

import torch
from rich.console import Console
from rounds import Comparison, parse_arguments, show
from step import compose_experiment

from sslzoo.data.load import load_data
from sslzoo.plan.measure import StepRunner
from sslzoo.runtime.allocator import prepare_allocator
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.errors import UserError

PLAIN = ("--precision", "fp32", "--compile-augmentations", "false")
ADAMW = ("--optimizer", "adamw", "--optimizer.lr", "0.001")
NETWORKS = {
    "ResNet-18, 32 pixels": (),
    "ResNet-18 of a quarter of the width, 32 pixels": ("--backbone.kwargs", "{channels: [16, 32, 64, 128]}"),
    "ViT-Tiny, 64 pixels": ("--backbone", "vit_tiny_patch16_224", "--img-size", "64", *ADAMW),
}
"""Flags by name."""


def create_runner(batch: int, *flags: str) -> StepRunner:
    """Create a runner of training steps."""
    chosen = compose_experiment(batch, 1, "--method", "ascl", *flags)
    return StepRunner(chosen, load_data(chosen.dataset))


def create_plain_runner(batch: int, *flags: str) -> StepRunner:
    """Create a runner with plain settings."""
    runner = create_runner(batch, *flags, *PLAIN)
    runner.stepper.method.to(memory_format=torch.contiguous_format)
    runner.stepper.batches.memory_format = torch.contiguous_format
    return runner


def run_step(step: Callable[[], object], threads: int) -> None:
    """Run a step with this number of threads."""
    torch.set_num_threads(threads)
    step()
    torch.set_num_threads(1)


def create_steps(batch: int, cores: list[int], flags: tuple[str, ...]) -> dict[str, Callable[[], object]]:
    """Create the steps to time, by name."""
    runners = {"plain": create_plain_runner(batch, *flags), "default": create_runner(batch, *flags)}
    if which("g++") or which("clang"):
        runners["best flags"] = create_runner(batch, *flags, "--compile")
    return {
        f"{name}, {count} thread{'s' * (count > 1)}": partial(run_step, runner.run_step, count)
        for count in cores
        for name, runner in runners.items()
    }


def main() -> None:
    """Time all steps in turn and print a table per network."""
    prepare_allocator()
    asked = parse_arguments(__doc__, batch=128, repeats=5, cores=(1, 2))
    console = Console()
    for name, flags in NETWORKS.items():
        work = create_steps(asked.batch, list(asked.cores), flags)
        title = f"a training step of ASCL, {name}, batch {asked.batch}"
        show(console, Comparison(title, "images a second", asked.batch, work), asked.repeats)
    console.print(f"torch {torch.__version__}, {device_name()}, {asked.repeats} repeats")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
