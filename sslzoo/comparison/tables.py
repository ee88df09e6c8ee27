"""Create the tables of the page, for HTML and Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import NamedTuple

from sslzoo.comparison.agreement import (
    Settings,
    comparable_settings,
    find_differences,
    find_mismatches,
    format_setting,
    is_part_of,
)
from sslzoo.comparison.charts import CLASSIFIERS
from sslzoo.comparison.rows import Classifier, Comparison, Encoder, Row, Run
from sslzoo.comparison.statistics import Difference, compare_pairs, estimate_mean
from sslzoo.report.published import Published

MISSING = "—"
GIB = 1024**3
REFERENCE_PARTS = ("dataset", "img_size", "backbone", "evaluation", "augmentations.test")
"""Parts that affect the accuracy of an untrained backbone and of raw pixels."""


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    bold: bool = False


@dataclass
class Table:
    """A table of texts."""

    columns: list[str]
    rows: list[list[Cell]]
    text_columns: int = 1
    """Number of leading columns with text, aligned left; the others contain numbers."""
    row_classes: dict[int, str] = field(default_factory=dict)
    """CSS class of a row, by its number."""


def create_results_table(comparison: Comparison) -> Table:
    """Create the table of test accuracies, differences to the baseline, and untrained references."""
    mismatches = find_mismatches([row.settings for row in comparison.rows], comparison.axes)
    columns = ["method", *(["differing settings"] if mismatches else []), "loss", "seeds"]
    text_columns = len(columns) - 1
    for name in CLASSIFIERS.values():
        columns += [f"{name} (%)", "difference (points)", "p"]
    table = Table(columns, [], text_columns)
    for row in comparison.rows:
        known = row.settings
        differences = (
            [Cell(", ".join(f"{name} {format_setting(known.get(name))}" for name in mismatches))] if mismatches else []
        )
        directions = row.runs[0].summary.get("directions", MISSING)
        cells = [Cell(row.label), *differences, Cell(str(directions)), Cell(str(len(row.runs)))]
        for classifier in CLASSIFIERS:
            cells.append(Cell(format_accuracy(row.percents("trained", classifier).values())))
            cells += _difference_cells(row, comparison.baseline, classifier)
        table.rows.append(cells)
    for name, encoder, members in _list_references(comparison):
        cells = [Cell(name), *([Cell("")] if mismatches else []), Cell(""), Cell("")]
        for classifier in CLASSIFIERS:
            values: dict[int, float] = {}
            for row in members:
                values |= row.percents(encoder, classifier)
            cells += [Cell(format_accuracy(values.values(), encoder == "untrained")), Cell(""), Cell("")]
            if encoder == "untrained":
                cells[text_columns] = Cell(str(len(values)))
        table.row_classes[len(table.rows)] = "reference"
        table.rows.append(cells)
    return table


def format_accuracy(values: Iterable[float], random: bool = True) -> str:
    """Format as `93.1 ± 0.8`, mean and half-width of its interval; only the mean if it does not depend on the seed."""
    values = list(values)
    if not values:
        return MISSING
    estimate = estimate_mean(values)
    if not random:
        return f"{estimate.mean:.1f}"
    return f"{estimate.mean:.1f} ± {MISSING if estimate.half_width is None else f'{estimate.half_width:.1f}'}"


def _difference_cells(row: Row, baseline: Row, classifier: Classifier) -> list[Cell]:
    if row is baseline:
        return [Cell("baseline"), Cell("")]
    difference = compare_pairs(row.percents("trained", classifier), baseline.percents("trained", classifier))
    if difference is None:
        return [Cell(MISSING), Cell("no common seed")]
    half = MISSING if difference.half_width is None else f"{difference.half_width:.1f}"
    shared = "" if difference.n == len(row.runs) else f" (n {difference.n})"
    return [
        Cell(f"{difference.mean:+.1f} ± {half}{shared}", difference.significant),
        Cell(format_p_value(difference), difference.significant),
    ]


def format_p_value(difference: Difference) -> str:
    """Format p with two digits, or the reason why it is missing."""
    if difference.n < 2:
        return "n < 2"
    if difference.p is None:
        return MISSING
    return "< 0.001" if difference.p < 0.001 else f"{difference.p:.2g}"


def _list_references(comparison: Comparison) -> list[tuple[str, Encoder, list[Row]]]:
    """List name, encoder and rows of each reference that is evaluated without training."""
    groups: list[tuple[Settings, list[Row]]] = []
    for row in comparison.rows:
        known = {
            name: value
            for name, value in row.settings.items()
            if any(is_part_of(name, part) for part in REFERENCE_PARTS)
        }
        members = next((members for settings, members in groups if settings == known), None)
        if members is None:
            groups.append((known, [row]))
        else:
            members.append(row)
    encoders: tuple[Encoder, ...] = ("untrained", "raw pixels")
    references: list[tuple[str, Encoder, list[Row]]] = []
    for encoder in encoders:
        for _, members in groups:
            name = members[0].runs[0].encoder_name(encoder)
            if len(groups) > 1:
                name += f", for {', '.join(row.label for row in members)}"
            references.append((name, encoder, members))
    return references


def create_cost_table(comparison: Comparison) -> Table:
    """Create the table of cost: means over seeds, and the sum of compute."""
    columns = ["method", "device", "processes x threads", "images/s", "training a run", "peak host (GiB)"]
    columns += ["peak device (GiB)", "compute of all seeds"]
    table = Table(columns, [], text_columns=2)
    for row in comparison.rows:
        runs = [run.summary for run in row.runs]
        seconds = [summary["train_seconds"] for summary in runs if summary.get("train_seconds")]
        host, device = (
            [s["peak_memory"][kind] for s in runs if s.get("peak_memory", {}).get(kind)] for kind in ("host", "device")
        )
        table.rows.append(
            [
                Cell(row.label),
                Cell(_join_distinct(summary.get("device") for summary in runs)),
                Cell(_join_distinct(f"{s.get('processes', '?')} x {s.get('threads', '?')}" for s in runs)),
                Cell(_format_mean([s["images_per_second"] for s in runs if s.get("images_per_second")], ",.0f")),
                Cell(format_duration(mean(seconds)) if seconds else MISSING),
                Cell(_format_mean([value / GIB for value in host], ".2f")),
                Cell(_format_mean([value / GIB for value in device], ".2f")),
                Cell(_format_compute(row.runs)),
            ]
        )
    return table


def _format_compute(runs: Sequence[Run]) -> str:
    hours = {"GPU": 0.0, "CPU core": 0.0}
    for run in runs:
        summary = run.summary
        processes = summary.get("processes", 1)
        if summary.get("train_seconds") is None:
            return MISSING
        on_gpu = summary.get("peak_memory", {}).get("device") is not None
        share = summary["train_seconds"] * processes / 3600
        hours["GPU" if on_gpu else "CPU core"] += share if on_gpu else share * summary.get("threads", 1)
    return " + ".join(f"{value:.2f} {kind} h" for kind, value in hours.items() if value) or MISSING


def format_duration(seconds: float) -> str:
    """Format as `1 h 05 min` or `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _format_mean(values: Sequence[float], form: str) -> str:
    return format(mean(values), form) if values else MISSING


def _join_distinct(values: Iterable[object]) -> str:
    """Join the distinct values in their order."""
    return ", ".join(dict.fromkeys(MISSING if value is None else str(value) for value in values))


def create_settings_table(comparison: Comparison) -> Table:
    """Create the table of settings that differ between rows."""
    configs = [row.settings for row in comparison.rows]
    table = Table(["setting", *(row.label for row in comparison.rows)], [], text_columns=1 + len(configs))
    for name in find_differences(configs):
        table.rows.append([Cell(name), *(Cell(format_setting(config.get(name))) for config in configs)])
    return table


def create_published_table(results: Sequence[Published]) -> Table:
    """Create the table of published results."""
    columns = ["method", "measure", "setting", "source", "accuracy (%)"]
    rows = [[Cell(r.method), Cell(r.measure), Cell(r.setting), Cell(r.source), Cell(r.percent)] for r in results]
    return Table(columns, rows, text_columns=4)


def list_shared_settings(comparison: Comparison) -> dict[str, str]:
    """Describe the settings that the rows share, by topic."""
    runs = comparison.runs
    settings = [comparable_settings(run.experiment) for run in runs]

    def describe(name: str) -> str:
        return _join_distinct(format_setting(config.get(name)) for config in settings)

    def combine(*names: str) -> str:
        named = [(name, name.rpartition(".")[2].removeprefix("name") + " ") for name in names]
        return _join_distinct(
            ", ".join(f"{short}{format_setting(c.get(name))}".strip() for name, short in named) for c in settings
        )

    limits = [name for name in ("dataset.limit", "dataset.test_limit") if describe(name) != "None"]
    lines = {
        "data set": describe("dataset.name") + "".join(f", {n.rpartition('.')[2]} {describe(n)}" for n in limits),
        "images": f"{describe('img_size')} px",
        "backbone": _join_distinct(run.summary.get("backbone") for run in runs),
        "epochs": describe("epochs"),
        "batch": describe("batch_size"),
        "optimizer": combine(*(f"optimizer.{name}" for name in ("name", "lr", "weight_decay"))),
        "schedule": combine(*(n for n in settings[0] if is_part_of(n, "schedule"))),
        "precision": describe("precision"),
        "seeds": _join_distinct(sorted({run.seed for run in runs})),
        "device": _join_distinct(_describe_device(run) for run in runs),
        "versions": _join_distinct(_describe_versions(run) for run in runs),
        "commit": _join_distinct(run.environment.get("commit") for run in runs),
        "protocol": " / ".join(dict.fromkeys(str(run.summary.get("protocol")) for run in runs)),
    }
    return {name: text for name, text in lines.items() if text}


def _describe_device(run: Run) -> str:
    summary = run.summary
    processes, threads = summary.get("processes", "?"), summary.get("threads", "?")
    return f"{summary.get('device', 'unknown')}, processes: {processes}, threads per process: {threads}"


def _describe_versions(run: Run) -> str:
    packages = run.environment.get("packages", {})
    wanted = [f"{name} {packages[name]}" for name in ("sslzoo", "torch", "timm", "accelerate") if name in packages]
    return ", ".join([f"Python {run.environment.get('python', '?')}", *wanted])
