"""Contenders timed in turn, as tables."""

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
"""Where contenders run."""


def arguments(description: str | None, **defaults: int | tuple[int, ...]) -> argparse.Namespace:
    """Arguments that are one or several integers, and `threads`, which is set in torch."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {**defaults, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default, nargs="+" if isinstance(default, tuple) else None)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    return asked


def conditions(repeats: int) -> str:
    """What figures depend on, for the last line."""
    return f"torch {torch.__version__}, {device_name()}, threads: {torch.get_num_threads()}, {repeats} repeats"


@dataclass(frozen=True)
class Comparison:
    """What does the same work in several ways."""

    title: str
    """The work and its setting."""
    unit: str
    """Of `amount`, as in `pairs a second`; empty for milliseconds a call."""
    amount: float
    """Units of work in a call."""
    contenders: Mapping[str, Callable[[], object]]
    """By name; ratios are to the first one."""
    memory: bool = False
    """Whether to show the most that a call's tensors hold."""
    notes: list[str] = field(default_factory=list)
    """Lines below the table."""


@dataclass(frozen=True)
class Row:
    """What a contender took."""

    name: str
    seconds: list[float]
    bytes: int | None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def run(comparison: Comparison, repeats: int) -> list[Row]:
    """Time all contenders in turn, so that each round compares what ran at one time; one call of each goes before."""
    held: dict[str, int | None] = {}
    for name, work in comparison.contenders.items():
        held[name] = None
        if comparison.memory:
            with TensorMemory() as memory:
                work()
            held[name] = memory.peak
        else:
            work()
    seconds: dict[str, list[float]] = {name: [] for name in comparison.contenders}
    for _ in range(repeats):
        for name, work in comparison.contenders.items():
            synchronize(DEVICE)
            began = time.perf_counter()
            work()
            synchronize(DEVICE)
            seconds[name].append(time.perf_counter() - began)
    return [Row(name, taken, held[name]) for name, taken in seconds.items()]


def show(console: Console, comparison: Comparison, repeats: int) -> list[Row]:
    """Time all and print the table."""
    rows = run(comparison, repeats)
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    columns = [f"{comparison.unit or 'ms'}, median", "slowest to fastest", "ratio"]
    for column in [*columns, *(["MiB held"] if comparison.memory else [])]:
        table.add_column(column, justify="right")
    for row in rows:
        slow, fast = max(row.seconds), min(row.seconds)
        cells = [spelled(comparison, row.median), f"{spelled(comparison, slow)} - {spelled(comparison, fast)}"]
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


def spelled(comparison: Comparison, seconds: float) -> str:
    """A time as units a second, or as milliseconds."""
    if comparison.unit:
        return f"{comparison.amount / seconds:,.0f}"
    return f"{1e3 * seconds:,.1f}" if seconds >= 0.01 else f"{1e3 * seconds:,.2f}"
