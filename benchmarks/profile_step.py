"""Profile the operations of a training step with torch's profiler.

    python benchmarks/profile_step.py --method ascl --dataset cifar10 --dataset.path data/cifar10 --batch-size 64
    python benchmarks/profile_step.py --method ascl --precision fp32 --then="--precision bf16" --trace step.json

Accepts the flags of `run.py`. `--then` profiles a second time with additional flags and compares both; `--trace` writes
the last profile for chrome://tracing or ui.perfetto.dev.
"""

import shlex
import sys
from argparse import Namespace
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from sslzoo.config.arguments import ArgumentParser
from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.plan.measure import StepRunner
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import prepare_cpu

STEPS, MAX_ROWS = 3, 12

KINDS = {
    "convolution": ("convolution", "cudnn", "mkldnn", "xnnpack"),
    "batch norm": ("batch_norm",),
    "matrix product": ("mm", "bmm", "addmm", "matmul", "einsum"),
    "copy": ("copy_", "_to_copy", "cat", "gather", "index", "repeat", "contiguous", "clone"),
}
"""Substrings of the names of operations, by kind; all others are element-wise or small."""


class Profile(NamedTuple):
    """Operations of a training step."""

    flags: str
    operations: dict[str, tuple[float, float]]
    """Self time in milliseconds, and calls per step, by operation."""

    @property
    def milliseconds(self) -> float:
        """Milliseconds per step."""
        return sum(time for time, _ in self.operations.values())

    @property
    def calls(self) -> float:
        """Operations per step."""
        return sum(calls for _, calls in self.operations.values())

    def sum_by_kind(self) -> dict[str, float]:
        """Milliseconds per step by kind, longest first."""
        times: dict[str, float] = {}
        for name, (time, _) in self.operations.items():
            kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "other")
            times[kind] = times.get(kind, 0) + time
        return dict(sorted(times.items(), key=lambda kind: -kind[1]))


def profile_steps(flags: list[str], trace: str | None) -> Profile:
    """Profile some steps of a run."""
    experiment = compose(flags, prog="benchmarks/profile_step.py")
    prepare_cpu(experiment.threads)
    runner = StepRunner(experiment, load_data(experiment.dataset))
    runner.time_steps(0)
    on_gpu = runner.accelerator.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(STEPS):
            runner.run_step()
    if trace:
        profiler.export_chrome_trace(trace)
    operations = {}
    for event in profiler.key_averages():
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if time and not event.key.startswith(("ProfilerStep", "autograd::")):
            operations[event.key.removeprefix("aten::")] = (time / 1e3 / STEPS, event.count / STEPS)
    return Profile(" ".join(flags), operations)


def show(console: Console, profiles: list[Profile]) -> None:
    """Print the longest operations and their sums."""
    for each in profiles:
        table = Table(box=None, pad_edge=False)
        for column in ("operation", "ms a step", "share", "calls"):
            table.add_column(column, justify="left" if column == "operation" else "right")
        longest = sorted(each.operations.items(), key=lambda operation: -operation[1][0])
        for name, (time, count) in longest[:MAX_ROWS]:
            table.add_row(name[:60], f"{time:,.1f}", f"{100 * time / each.milliseconds:.1f} %", f"{count:,.0f}")
        console.print(f"profile of {each.flags}", highlight=False, soft_wrap=True)
        console.print(table)
        kinds = ", ".join(f"{kind} {100 * time / each.milliseconds:.0f} %" for kind, time in each.sum_by_kind().items())
        console.print(f"by kind: {kinds}", highlight=False, soft_wrap=True)
        largest = next(iter(each.sum_by_kind()))
        calls = f"{each.calls:,.0f} operations a step"
        console.print(f"largest part: {largest}; {each.milliseconds:,.0f} ms and {calls}\n", highlight=False)
    if len(profiles) == 2:
        before, after = profiles
        lines = [f"{each.milliseconds:,.0f} ms and {each.calls:,.0f} operations a step" for each in profiles]
        times = before.milliseconds / after.milliseconds
        console.print(
            f"before {lines[0]}, after {lines[1]}: {times:.2f} times as fast", highlight=False, soft_wrap=True
        )
    console.print(f"torch {torch.__version__}, {device_name()}, {torch.get_num_threads()} threads, {STEPS} steps each")


def parse_arguments(words: list[str]) -> tuple[Namespace, list[str]]:
    """Parse the arguments of the profiler; return the others as flags of a run."""
    own = ArgumentParser(add_help=False)
    own.add_argument("--then")
    own.add_argument("--trace")
    return own.parse_known_args(words)


def main(words: list[str]) -> None:
    """Profile once or twice."""
    if {"-h", "--help"} & {*words}:
        print(__doc__)
        return
    asked, flags = parse_arguments(words)
    every = [flags] if asked.then is None else [flags, [*flags, *shlex.split(asked.then)]]
    show(Console(), [profile_steps(each, asked.trace) for each in every])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
