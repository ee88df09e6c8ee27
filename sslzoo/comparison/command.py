"""`run.py compare`: execute missing runs, then write the page."""

import sys
from typing import Any

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
from sslzoo.runtime.launch import claim_cores
from sslzoo.training.stop import Interrupted


def compare(request: Request) -> int:
    """Compare methods over seeds.

    Returns:
        The exit status: 0; 1 if a run failed; 128 + n if signal n stopped the comparison.

    Raises:
        UserError: the request or an existing run is invalid.
    """
    console = Console()
    if request.runs:
        comparison, folder = _compare_finished(request)
        failed: list[str] = []
    else:
        cells, baseline = plan(request)
        labels = list(dict.fromkeys(cell.label for cell in cells))
        dataset = cells[0].experiment.dataset.name
        folder = ComparisonFolder(request.folder or default_folder(dataset, labels))
        folder.create(_create_record(request, {"rows": labels, "seeds": list(request.seeds), "baseline": baseline}))
        cells = [folder.with_run_folder(cell) for cell in cells]
        try:
            failed = run_cells(cells, folder, request.launch, console, request.command)
        except Interrupted as stopped:
            print(stopped, file=sys.stderr)
            return stopped.code
        finished = _compare_cells(cells, folder, request, baseline, failed)
        if finished is None:
            print(f"error: all runs failed; the first: {failed[0]}", file=sys.stderr)
            return 1
        comparison = finished
    claim_cores(comparison.runs[0].experiment.threads)
    write_page(comparison, folder, console)
    console.print(create_text_table(comparison))
    console.print(f"page: {folder.html}", highlight=False, soft_wrap=True, markup=False)
    if failed:
        print(f"error: {len(failed)} runs failed; the first: {failed[0]}", file=sys.stderr)
    return 1 if failed else 0


def plan(request: Request) -> tuple[list[Cell], str]:
    """Create the runs of a request and choose the baseline's label, without starting a run.

    Raises:
        UserError: the request is invalid.
    """
    cells = create_cells(request)
    return cells, find_baseline(list(dict.fromkeys(cell.label for cell in cells)), request.baseline)


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
    return {"command": list(request.words), **compared, "mixed": request.mixed}


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
