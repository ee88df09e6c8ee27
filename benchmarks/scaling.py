"""Throughput of one and several processes on this machine, and the bytes that they exchange.

    python benchmarks/scaling.py --method ascl --dataset cifar10 --dataset.path data/cifar10 --batch-size 128
    python benchmarks/scaling.py --method simclr --processes 1 2 4

Accepts the flags of `run.py`. Each process has one thread. The batch size is the total over all processes, or with
`--weak` that of each process. Below the table follows an estimate for 8 and 64 GPUs from the number of bytes.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch.distributed as dist
from rich.console import Console
from rich.table import Table

from sslzoo.config.arguments import ArgumentParser
from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.plan.measure import Measurement, measure
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import prepare_cpu

SECONDS = 20
LINKS = {"NVLink, 8 GPUs of a machine": (8, 300e9), "InfiniBand of 400 Gbit/s for each GPU, 64 GPUs": (64, 40e9)}
"""Number of GPUs, and bytes per second that a GPU receives, at about 90 % of the specified rate."""
OVERLAPPED = "gradients"
"""Kind of bytes that DDP sends during the backward pass."""


def measure_process(flags: list[str], result: Path) -> None:
    """Measure as one of several processes; the main process writes the result."""
    experiment = compose(flags, prog="benchmarks/scaling.py")
    prepare_cpu(experiment.threads)
    measured = measure(experiment, load_data(experiment.dataset), SECONDS)
    if os.environ.get("RANK", "0") == "0":
        result.write_text(json.dumps(asdict(measured)))
    if dist.is_initialized():
        dist.destroy_process_group()


def launch(processes: int, flags: list[str]) -> Measurement:
    """Measure on this number of processes.

    Raises:
        UserError: the processes failed; their output precedes the error.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "measured.json"
        runner = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        words = [sys.executable, *runner, __file__, "--result", str(result), *flags]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, env=environment, check=False)
        if done.returncode:
            raise UserError(f"{processes} processes: ended with status {done.returncode}")
        return Measurement(**json.loads(result.read_text()))


def show(console: Console, results: dict[int, Measurement]) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False)
    columns = ("processes", "images/s", "ratio", "of ideal", "communication, ms", "gradients", "gathered", "reduced")
    for column in columns:
        table.add_column(column, justify="right")
    (first, base), *_ = results.items()
    for processes, measured in results.items():
        ratio = measured.images_per_second / base.images_per_second
        received = measured.received
        cells = [f"{processes}", f"{measured.images_per_second:,.1f}", f"{ratio:.2f}"]
        cells.append(f"{100 * ratio * first / processes:.0f} %")
        cells.append(f"{1e3 * measured.parts.get('communication', 0):,.1f}")
        parts = ("gradients", "keys and images", "statistics")
        cells += [f"{received.get(part, 0) / 2**20:,.2f} MiB" for part in parts]
        table.add_row(*cells)
    console.print(table)


def estimate(console: Console, measured: Measurement, processes: int, seconds: float) -> None:
    """Print the estimated communication per step on many GPUs, from the bytes counted here.

    Each process keeps its number of images. With W processes, an all-gather receives W - 1 shares, and a ring
    all-reduce receives 2 (W - 1) / W of a tensor.
    """
    for link, (world, speed) in LINKS.items():
        ring = (2 * (world - 1) / world) / (2 * (processes - 1) / processes)
        gather = (world - 1) / (processes - 1)
        received = {
            "gradients": measured.received["gradients"] * ring,
            "keys and images": measured.received.get("keys and images", 0) * gather,
            "statistics": measured.received.get("statistics", 0) * ring,
        }
        times = {name: count / speed for name, count in received.items()}
        exposed = sum(time for name, time in times.items() if name != OVERLAPPED)
        shares = ", ".join(f"{name} {received[name] / 2**20:,.1f} MiB {1e3 * times[name]:,.3f} ms" for name in received)
        share = exposed / (exposed + seconds)
        console.print(
            f"{link}, {speed / 1e9:,.0f} GB/s: {shares}. Not hidden behind the backward pass: {1e3 * exposed:,.3f} ms. "
            f"With {1e3 * seconds:,.0f} ms of arithmetic: {100 * (1 - share):.1f} % of ideal, latencies not counted",
            highlight=False,
            soft_wrap=True,
        )


def main(words: list[str]) -> None:
    """Measure on each number of processes and print the results."""
    if {"-h", "--help"} & {*words}:
        print(__doc__)
        return
    own = ArgumentParser(add_help=False)
    own.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    own.add_argument("--weak", action="store_true")
    own.add_argument("--gpu-step-ms", type=float, default=10.0)
    own.add_argument("--result", type=Path)
    asked, flags = own.parse_known_args(words)
    if asked.result:
        measure_process(flags, asked.result)
        return
    experiment = compose(flags, prog="benchmarks/scaling.py")
    results = {}
    for processes in asked.processes:
        batch = experiment.batch_size * (processes if asked.weak else 1)
        results[processes] = launch(processes, [*flags, "--threads", "1", "--batch-size", str(batch)])
    console = Console(width=140)
    show(console, results)
    most = max(results)
    if most > 1:
        estimate(console, results[most], most, asked.gpu_step_ms / 1e3)
    console.print(f"({device_name()}, one thread per process, {SECONDS} s each)")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
