"""`run.py compare`: run what is missing, then write the page."""

import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sslzoo.compare.cells import Cell, create_cells
from sslzoo.compare.execute import run_cells
from sslzoo.compare.folder import ComparisonFolder, default_folder
from sslzoo.compare.page import write_page
from sslzoo.compare.request import Request
from sslzoo.compare.rows import Comparison, Row, Run, check_rows, find_baseline, read_run, rows_of
from sslzoo.compare.tables import results_table
from sslzoo.runtime.launch import claim_cores
from sslzoo.train.stop import Interrupted


def compare(request: Request) -> int:
    """Compare methods over seeds.

    Returns:
        The exit status: 0; 1 when a run failed; 128 + n when signal n stopped it.

    Raises:
        UserError: the request or an existing run is invalid; nothing was started.
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
        folder.open(_record(request, {"rows": labels, "seeds": list(request.seeds), "baseline": baseline}))
        cells = [folder.placed(cell) for cell in cells]
        try:
            failed = run_cells(cells, folder, request.launch, console, request.command)
        except Interrupted as stopped:
            print(stopped, file=sys.stderr)
            return stopped.code
        found = _compare_cells(cells, folder, request, baseline, failed)
        if found is None:
            print(f"error: no run finished; the first: {failed[0]}", file=sys.stderr)
            return 1
        comparison = found
    claim_cores(comparison.runs[0].experiment.threads)
    write_page(comparison, folder, console)
    console.print(results_as_text(comparison))
    console.print(f"the page: {folder.html}", highlight=False, soft_wrap=True, markup=False)
    if failed:
        print(f"error: {len(failed)} runs failed; the first: {failed[0]}", file=sys.stderr)
    return 1 if failed else 0


def plan(request: Request) -> tuple[list[Cell], str]:
    """The runs that a request needs and the baseline's label; all is checked, nothing is started.

    Raises:
        UserError: something is not right.
    """
    cells = create_cells(request)
    return cells, find_baseline(list(dict.fromkeys(cell.label for cell in cells)), request.baseline)


def _compare_finished(request: Request) -> tuple[Comparison, ComparisonFolder]:
    """Comparison of existing runs."""
    rows = rows_of([read_run(path) for path in request.runs])
    axes = tuple(axis.setting for axis in request.axes)
    if not request.mixed:
        check_rows(rows, axes)
    labels = [row.label for row in rows]
    baseline = find_baseline(labels, request.baseline)
    dataset = rows[0].runs[0].experiment.dataset.name
    folder = ComparisonFolder(request.folder or default_folder(dataset, labels))
    folder.open(_record(request, {"rows": {row.label: [str(run.folder) for run in row.runs] for row in rows}}))
    return Comparison(tuple(rows), rows[labels.index(baseline)], axes, request.command), folder


def _compare_cells(
    cells: list[Cell], folder: ComparisonFolder, request: Request, baseline: str, failed: list[str]
) -> Comparison | None:
    """The comparison of those cells whose run has finished; None where none has."""
    runs: dict[str, list[Run]] = {cell.label: [] for cell in cells}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        if (folder.run(cell) / "summary.json").is_file():
            runs[cell.label].append(read_run(folder.run(cell), cell.experiment))
    rows = [Row(label, tuple(finished)) for label, finished in runs.items() if finished]
    if not rows:
        return None
    reference = next((row for row in rows if row.label == baseline), rows[0])
    axes = tuple(axis.setting for axis in request.axes)
    return Comparison(tuple(rows), reference, axes, request.command, tuple(failed))


def _record(request: Request, compared: dict[str, Any]) -> dict[str, Any]:
    return {"command": list(request.words), **compared, "mixed": request.mixed}


def results_as_text(comparison: Comparison) -> Table:
    """The page's first table in short, for the terminal."""
    content = results_table(comparison)
    table = Table(box=None, pad_edge=False)
    kept = [i for i, name in enumerate(content.columns) if name not in ("loss", "not alike", "p")]
    for i in kept:
        name = content.columns[i].removesuffix(" (points)")
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in content.rows:
        table.add_row(*(escape(row[i].text) for i in kept))
    return table
