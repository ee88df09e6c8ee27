"""`run.py compare`: execute missing runs, then write the page."""

import sys
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sslzoo.comparison.cells import Cell, create_cells
from sslzoo.comparison.execute import run_cells
from sslzoo.comparison.folder import ComparisonFolder, default_folder
from sslzoo.comparison.page import write_page
from sslzoo.comparison.request import Request
from sslzoo.comparison.rows import Comparison, Row, Run, check_rows, find_baseline, group_runs, read_run
from sslzoo.comparison.tables import create_results_table
from sslzoo.config.registry import MAIN
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import prepare_cpu
from sslzoo.training.stop import Interrupted


class Outcome(NamedTuple):
    """What a comparison produced."""

    comparison: Comparison | None
    """The finished runs; None if all runs failed."""
    folder: ComparisonFolder
    failed: list[str]
    """Descriptions of the runs that failed, with their logs."""


def compare(request: Request) -> int:
    """Compare methods over seeds.

    Returns:
        The exit status: 0; 1 if a run failed; 128 + n if signal n stopped the comparison.

    Raises:
        UserError: the request or an existing run is invalid.
    """
    console = Console()
    try:
        outcome = run_comparison(request, console)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    if outcome.failed:
        runs = f"{len(outcome.failed)} runs" if outcome.comparison else "all runs"
        print(f"error: {runs} failed; the first: {outcome.failed[0]}", file=sys.stderr)
    return 1 if outcome.failed else 0


def run_comparison(request: Request, console: Console) -> Outcome:
    """Execute the missing runs of a comparison, write its page and print its table.

    Raises:
        UserError: the request or an existing run is invalid.
        Interrupted: a signal arrived, and the current run has saved a checkpoint.
    """
    failed: list[str] = []
    comparison: Comparison | None
    if request.runs:
        comparison, folder = _compare_finished(request)
    else:
        cells, baseline = plan(request)
        labels = list(dict.fromkeys(cell.label for cell in cells))
        dataset = cells[0].experiment.dataset.name
        folder = ComparisonFolder(request.folder or default_folder(dataset, labels))
        folder.create(_create_record(request, {"rows": labels, "seeds": list(request.seeds), "baseline": baseline}))
        cells = [folder.with_run_folder(cell) for cell in cells]
        failed = run_cells(cells, folder, request.launch, console, request.command)
        comparison = _compare_cells(cells, folder, request, baseline, failed)
    if comparison is not None:
        prepare_cpu(comparison.runs[0].experiment.threads)
        write_page(comparison, folder, console)
        console.print(create_text_table(comparison))
        console.print(f"page: {folder.html}", highlight=False, soft_wrap=True, markup=False)
    return Outcome(comparison, folder, failed)


def plan(request: Request) -> tuple[list[Cell], str]:
    """Create the runs of a request and choose the baseline's label, without starting a run.

    Raises:
        UserError: the request is invalid, or the processes of the runs cannot import a custom part.
    """
    cells = create_cells(request)
    _require_importable(cells)
    return cells, find_baseline(list(dict.fromkeys(cell.label for cell in cells)), request.baseline)


def _require_importable(cells: list[Cell]) -> None:
    for cell in cells:
        if MAIN in cell.experiment.plugin:
            raise UserError(
                f"compare {cell.label}: a part is defined in this notebook or script, which the processes of the runs "
                "cannot import; move its class to a file and name it with plugin=, or compare finished runs with runs="
            )


def _compare_finished(request: Request) -> tuple[Comparison, ComparisonFolder]:
    """Compare existing runs.

    Raises:
        UserError: a run is invalid or unfinished, or runs are not comparable.
    """
    rows = group_runs([read_run(path) for path in request.runs])
    axes = tuple(axis.setting for axis in request.axes)
    if not request.mixed:
        check_rows(rows, axes)
    labels = [row.label for row in rows]
    baseline = find_baseline(labels, request.baseline)
    dataset = rows[0].runs[0].experiment.dataset.name
    folder = ComparisonFolder(request.folder or default_folder(dataset, labels))
    folder.create(_create_record(request, {"rows": {row.label: [str(run.folder) for run in row.runs] for row in rows}}))
    return Comparison(tuple(rows), rows[labels.index(baseline)], axes, request.command), folder


def _compare_cells(
    cells: list[Cell], folder: ComparisonFolder, request: Request, baseline: str, failed: list[str]
) -> Comparison | None:
    """Compare the cells whose runs have finished; None if there are none."""
    runs: dict[str, list[Run]] = {cell.label: [] for cell in cells}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        if (folder.run_path(cell) / "summary.json").is_file():
            runs[cell.label].append(read_run(folder.run_path(cell), cell.experiment))
    rows = [Row(label, tuple(finished)) for label, finished in runs.items() if finished]
    if not rows:
        return None
    reference = next((row for row in rows if row.label == baseline), rows[0])
    axes = tuple(axis.setting for axis in request.axes)
    return Comparison(tuple(rows), reference, axes, request.command, tuple(failed))


def _create_record(request: Request, compared: dict[str, Any]) -> dict[str, Any]:
    return {"command": [request.call] if request.call else list(request.words), **compared, "mixed": request.mixed}


def create_text_table(comparison: Comparison) -> Table:
    """Create a short version of the results table for the terminal."""
    content = create_results_table(comparison)
    table = Table(box=None, pad_edge=False)
    columns = [i for i, name in enumerate(content.columns) if name not in ("loss", "differing settings", "p")]
    for i in columns:
        name = content.columns[i].removesuffix(" (points)")
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in content.rows:
        table.add_row(*(escape(row[i].text) for i in columns))
    return table
