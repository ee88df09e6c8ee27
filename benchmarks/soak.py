"""Memory, open files and threads of a long run, as curves.

    python benchmarks/soak.py soak --epochs 250 --save-every 50 --knn-every 5
    python benchmarks/soak.py soak --dataset folder --dataset.path images --dataset.cache none --epochs 40

The first word is a folder for soak.csv, soak.png and soak.svg, the others are the flags of `run.py`. A run is started
and looked at every second, with the processes that it starts; what its scoring takes afterwards is left out.
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

from sslzoo.report.plots import BLUE, new_figure, save
from sslzoo.runtime.environment import device_name

ROOT = Path(__file__).resolve().parents[1]
SETTLED = 0.2
"""Part of the steps after which what a run holds should no longer grow."""


class Sample(NamedTuple):
    """A run at a moment, its processes together."""

    step: int
    host_mib: float
    """Resident memory, what processes share counted once (PSS; where a system has none, without what is shared)."""
    device_mib: float
    """Memory in use on the device, by whomever; 0 without one."""
    files: int
    threads: int
    processes: int


def watch(process: subprocess.Popen[bytes], run: Path) -> Iterator[Sample]:
    """A sample each second from the first line of metrics on, while the run trains."""
    root = psutil.Process(process.pid)
    while process.poll() is None and not (run / "backbone.safetensors").exists():
        time.sleep(1)
        step = last_step(run / "metrics.jsonl")
        try:
            members = [root, *root.children(recursive=True)]
            if step:
                yield Sample(
                    step,
                    sum(resident(member) for member in members) / 2**20,
                    device_memory() / 2**20,
                    sum(member.num_fds() for member in members),
                    sum(member.num_threads() for member in members),
                    len(members),
                )
        except psutil.NoSuchProcess:  # a worker that ended meanwhile
            continue


def resident(process: psutil.Process) -> int:
    """Bytes of a process, its part of what it shares with others."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.uss))


def last_step(metrics: Path) -> int:
    """The step of the last whole line, 0 before there is one."""
    lines = metrics.read_bytes().rpartition(b"\n")[0].splitlines() if metrics.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def device_memory() -> int:
    """Bytes in use on the device, 0 without one."""
    if not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


def summary(samples: Sequence[Sample]) -> Table:
    """What each figure was when it had settled and at the end, and how it changed."""
    last = samples[-1].step
    settled = [sample for sample in samples if sample.step >= SETTLED * last]
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


def draw(samples: Sequence[Sample], path: Path, title: str) -> None:
    """A curve of each figure over steps."""
    figure = new_figure(width=9.0, height=2.6)
    names = [name for name in ("host_mib", "device_mib", "files", "threads") if any(getattr(s, name) for s in samples)]
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        axes.plot([s.step for s in samples], [getattr(s, name) for s in samples], color=BLUE, linewidth=1)
        axes.set(xlabel="step", ylabel=name.replace("_mib", " memory (MiB)"))
        axes.set_ylim(bottom=0)
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def main(words: list[str]) -> int:
    """Run, watch, and write down what was seen."""
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
        samples = list(watch(process, run))
    if process.returncode or not samples:
        print(f"error: the run ended with {process.returncode}; see {folder}/output.txt", file=sys.stderr)
        return 2
    with (folder / "soak.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Sample._fields, *samples])
    draw(samples, folder / "soak", title=" ".join(flags))
    console = Console()
    console.print(summary(samples))
    console.print(f"torch {torch.__version__}, {device_name()}; run.py {' '.join(flags)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
