"""Record memory, open files and threads of a long run, and plot them.

    python benchmarks/soak.py soak --epochs 250 --save-every 50 --knn-every 5
    python benchmarks/soak.py soak --dataset folder --dataset.path images --dataset.cache none --epochs 40

The first word is a folder for soak.csv, soak.png and soak.svg, the others are the flags of `run.py`. The run
and its child processes are sampled every second until training ends; the evaluation afterwards is not included.
"""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from sslzoo.report.plots import BLUE, create_figure, save_figure
from sslzoo.runtime.environment import device_name

ROOT = Path(__file__).resolve().parents[1]
WARMUP_SHARE = 0.2
"""Share of the steps after which memory, files and threads should no longer grow."""


class Sample(NamedTuple):
    """State of a run at one moment, summed over its processes."""

    step: int
    host_mib: float
    """Resident memory; shared memory is counted once (PSS), or not at all if the system has no PSS."""
    device_mib: float
    """Memory in use on the device by all programs; 0 without a device."""
    files: int
    threads: int
    processes: int


def sample_run(process: subprocess.Popen[bytes], run: Path) -> Iterator[Sample]:
    """Yield a sample per second while the run trains, from the first line of metrics on."""
    root = psutil.Process(process.pid)
    while process.poll() is None and not (run / "backbone.safetensors").exists():
        time.sleep(1)
        step = read_last_step(run / "metrics.jsonl")
        try:
            members = [root, *root.children(recursive=True)]
            if step:
                yield Sample(
                    step,
                    sum(resident_bytes(member) for member in members) / 2**20,
                    device_bytes() / 2**20,
                    sum(member.num_fds() for member in members),
                    sum(member.num_threads() for member in members),
                    len(members),
                )
        except psutil.NoSuchProcess:  # a worker ended in the meantime
            continue


def resident_bytes(process: psutil.Process) -> int:
    """Return the resident bytes of a process, including its share of shared memory."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.uss))


def read_last_step(metrics: Path) -> int:
    """Read the step of the last complete line of metrics; 0 if there is none."""
    lines = metrics.read_bytes().rpartition(b"\n")[0].splitlines() if metrics.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def device_bytes() -> int:
    """Return the bytes in use on the device; 0 without a device."""
    if not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


def create_summary(samples: Sequence[Sample]) -> Table:
    """Create a table of each value after the warm-up, at the end, and its slope."""
    last = samples[-1].step
    settled = [sample for sample in samples if sample.step >= WARMUP_SHARE * last]
    steps = np.array([sample.step for sample in settled])
    table = Table(box=None, title=f"{last} steps, {len(samples)} samples, from step {settled[0].step} on")
    for column in ("", "first", "median", "last", "largest", "slope in 1,000 steps"):
        table.add_column(column, justify="right")
    for name in Sample._fields[1:]:
        values = np.array([getattr(sample, name) for sample in settled], dtype=float)
        slope = np.polyfit(steps, values, 1)[0] * 1000 if len(set(steps)) > 1 else 0.0
        figures = (values[0], np.median(values), values[-1], values.max())
        table.add_row(name, *(f"{figure:,.1f}" for figure in figures), f"{slope:+.3f}")
    return table


def draw_curves(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Plot each value over steps."""
    figure = create_figure(width=9.0, height=2.6)
    names = [name for name in ("host_mib", "device_mib", "files", "threads") if any(getattr(s, name) for s in samples)]
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        axes.plot([s.step for s in samples], [getattr(s, name) for s in samples], color=BLUE, linewidth=1)
        axes.set(xlabel="step", ylabel=name.replace("_mib", " memory (MiB)"))
        axes.set_ylim(bottom=0)
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


def main(words: list[str]) -> int:
    """Start the run, sample it, and write the samples, plot and summary."""
    if not words or words[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    folder, flags = Path(words[0]), words[1:]
    run = folder / "run"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "run.py"), *flags, "--run-folder", str(run)]
    with (
        (folder / "output.txt").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        samples = list(sample_run(process, run))
    if process.returncode or not samples:
        print(f"error: the run ended with {process.returncode}; see {folder}/output.txt", file=sys.stderr)
        return 2
    with (folder / "soak.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Sample._fields, *samples])
    draw_curves(samples, folder / "soak", title=" ".join(flags))
    console = Console()
    console.print(create_summary(samples))
    console.print(f"torch {torch.__version__}, {device_name()}; run.py {' '.join(flags)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
