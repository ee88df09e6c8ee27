"""Time contenders in turn and print tables."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.table import Table

from sslzoo.plan.clock import synchronize
from sslzoo.plan.memory import TensorMemory
from sslzoo.runtime.environment import device_name

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Device of the contenders."""


def parse_arguments(description: str | None, **defaults: int | tuple[int, ...]) -> argparse.Namespace:
    """Parse integer arguments, and `--threads`, which is set in torch."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {**defaults, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default, nargs="+" if isinstance(default, tuple) else None)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    return asked


def describe_conditions(repeats: int) -> str:
    """Describe the conditions of the measurement, for the last line."""
    return f"torch {torch.__version__}, {device_name()}, threads: {torch.get_num_threads()}, {repeats} repeats"


@dataclass(frozen=True)
class Comparison:
    """Several implementations of the same work."""

    title: str
    """Title of the table: the work and its settings."""
    unit: str
    """Unit of `amount`, such as `pairs a second`; empty for milliseconds per call."""
    amount: float
    """Units of work per call."""
    contenders: Mapping[str, Callable[[], object]]
    """Functions by name; ratios are relative to the first."""
    memory: bool = False
    """Whether to show the peak memory of the tensors of a call."""
    notes: list[str] = field(default_factory=list)
    """Lines below the table."""


@dataclass(frozen=True)
class Row:
    """Measurements of a contender."""

    name: str
    seconds: list[float]
    bytes: int | None
    """Peak memory of the tensors of a call."""

    @property
    def median(self) -> float:
        """Median seconds per call."""
        return statistics.median(self.seconds)


def time_contenders(comparison: Comparison, repeats: int) -> list[Row]:
    """Time all contenders in turn, so that each round runs under the same conditions; one call of each is a warm-up."""
    peaks: dict[str, int | None] = {}
    for name, work in comparison.contenders.items():
        peaks[name] = None
        if comparison.memory:
            with TensorMemory() as memory:
                work()
            peaks[name] = memory.peak
        else:
            work()
    seconds: dict[str, list[float]] = {name: [] for name in comparison.contenders}
    for _ in range(repeats):
        for name, work in comparison.contenders.items():
            synchronize(DEVICE)
            start = time.perf_counter()
            work()
            synchronize(DEVICE)
            seconds[name].append(time.perf_counter() - start)
    return [Row(name, values, peaks[name]) for name, values in seconds.items()]


def show(console: Console, comparison: Comparison, repeats: int) -> list[Row]:
    """Time all contenders and print the table."""
    rows = time_contenders(comparison, repeats)
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    columns = [f"{comparison.unit or 'ms'}, median", "slowest to fastest", "ratio"]
    for column in [*columns, *(["peak MiB"] if comparison.memory else [])]:
        table.add_column(column, justify="right")
    for row in rows:
        slow, fast = max(row.seconds), min(row.seconds)
        cells = [
            format_time(comparison, row.median),
            f"{format_time(comparison, slow)} - {format_time(comparison, fast)}",
        ]
        cells.append(f"{rows[0].median / row.median:.2f}")
        if row.bytes is not None:
            cells.append(f"{row.bytes / 2**20:,.0f}")
        table.add_row(row.name, *cells)
    console.print(comparison.title, highlight=False, soft_wrap=True)
    console.print(table)
    for note in comparison.notes:
        console.print(f"({note})", highlight=False, soft_wrap=True)
    console.print()
    return rows


def format_time(comparison: Comparison, seconds: float) -> str:
    """Format a time as units per second, or as milliseconds."""
    if comparison.unit:
        return f"{comparison.amount / seconds:,.0f}"
    return f"{1e3 * seconds:,.1f}" if seconds >= 0.01 else f"{1e3 * seconds:,.2f}"
