"""The tables of the page, as words: the same for HTML and Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import NamedTuple

from sslzoo.compare.agreement import Settings, belongs, find_differences, find_mismatches, format_setting, settings_of
from sslzoo.compare.charts import CLASSIFIERS
from sslzoo.compare.rows import Classifier, Comparison, Encoder, Row, Run
from sslzoo.compare.statistics import Difference, estimate, paired
from sslzoo.report.published import Published

NOTHING = "—"
GIB = 1024**3
BASELINE_DEPENDS_ON = ("dataset", "img_size", "backbone", "evaluation", "augmentations.test")
"""Parts that change the accuracy of an untrained backbone and of raw pixels."""


class Cell(NamedTuple):
    """One cell."""

    text: str
    strong: bool = False


@dataclass
class Table:
    """Columns, cells and notes."""

    columns: list[str]
    rows: list[list[Cell]]
    words: int = 1
    """How many of the first columns hold words, aligned left; the others hold numbers."""
    groups: dict[int, str] = field(default_factory=dict)
    """A class of the row for the style sheet, by its number."""


def results_table(comparison: Comparison) -> Table:
    """Test accuracies with their intervals, differences to the baseline, and the encoders that learned nothing."""
    unequal = find_mismatches([row.settings for row in comparison.rows], comparison.axes)
    columns = ["method", *(["not alike"] if unequal else []), "loss", "seeds"]
    words = len(columns) - 1
    for name in CLASSIFIERS.values():
        columns += [f"{name} (%)", "difference (points)", "p"]
    table = Table(columns, [], words)
    for row in comparison.rows:
        known = row.settings
        alike = [Cell(", ".join(f"{name} {format_setting(known.get(name))}" for name in unequal))] if unequal else []
        directions = row.runs[0].summary.get("directions", NOTHING)
        cells = [Cell(row.label), *alike, Cell(str(directions)), Cell(str(len(row.runs)))]
        for classifier in CLASSIFIERS:
            cells.append(Cell(accuracy(row.percents("trained", classifier).values())))
            cells += _difference(row, comparison.baseline, classifier)
        table.rows.append(cells)
    for name, encoder, members in _references(comparison):
        cells = [Cell(name), *([Cell("")] if unequal else []), Cell(""), Cell("")]
        for classifier in CLASSIFIERS:
            values: dict[int, float] = {}
            for row in members:
                values |= row.percents(encoder, classifier)
            cells += [Cell(accuracy(values.values(), encoder == "untrained")), Cell(""), Cell("")]
            if encoder == "untrained":
                cells[words] = Cell(str(len(values)))
        table.groups[len(table.rows)] = "reference"
        table.rows.append(cells)
    return table


def accuracy(values: Iterable[float], random: bool = True) -> str:
    """`93.1 ± 0.8`: mean and half-width of its interval; the mean alone of what does not depend on the seed."""
    values = list(values)
    if not values:
        return NOTHING
    whole = estimate(values)
    if not random:
        return f"{whole.mean:.1f}"
    return f"{whole.mean:.1f} ± {NOTHING if whole.half_width is None else f'{whole.half_width:.1f}'}"


def _difference(row: Row, baseline: Row, classifier: Classifier) -> list[Cell]:
    if row is baseline:
        return [Cell("baseline"), Cell("")]
    found = paired(row.percents("trained", classifier), baseline.percents("trained", classifier))
    if found is None:
        return [Cell(NOTHING), Cell("no common seed")]
    half = NOTHING if found.half_width is None else f"{found.half_width:.1f}"
    shared = "" if found.n == len(row.runs) else f" (n {found.n})"
    return [Cell(f"{found.mean:+.1f} ± {half}{shared}", found.significant), Cell(p_value(found), found.significant)]


def p_value(difference: Difference) -> str:
    """p in two digits, or why there is none."""
    if difference.n < 2:
        return "n < 2"
    if difference.p is None:
        return NOTHING
    return "< 0.001" if difference.p < 0.001 else f"{difference.p:.2g}"


def _references(comparison: Comparison) -> list[tuple[str, Encoder, list[Row]]]:
    """Name, encoder and rows that share it, of what is scored without training."""
    groups: list[tuple[Settings, list[Row]]] = []
    for row in comparison.rows:
        known = {
            name: value
            for name, value in row.settings.items()
            if any(belongs(name, part) for part in BASELINE_DEPENDS_ON)
        }
        members = next((members for settings, members in groups if settings == known), None)
        if members is None:
            groups.append((known, [row]))
        else:
            members.append(row)
    encoders: tuple[Encoder, ...] = ("untrained", "raw pixels")
    found = []
    for encoder in encoders:
        for _, members in groups:
            name = members[0].runs[0].encoder_name(encoder)
            if len(groups) > 1:
                name += f", as for {', '.join(row.label for row in members)}"
            found.append((name, encoder, members))
    return found


def cost_table(comparison: Comparison) -> Table:
    """What training took: means over seeds, and the sum of computing hours."""
    columns = ["method", "device", "processes x threads", "images/s", "training a run", "peak host (GiB)"]
    columns += ["peak device (GiB)", "compute of all seeds"]
    table = Table(columns, [], words=2)
    for row in comparison.rows:
        runs = [run.summary for run in row.runs]
        seconds = [summary["train_seconds"] for summary in runs if summary.get("train_seconds")]
        host, device = (
            [s["peak_memory"][kind] for s in runs if s.get("peak_memory", {}).get(kind)] for kind in ("host", "device")
        )
        table.rows.append(
            [
                Cell(row.label),
                Cell(_all(summary.get("device") for summary in runs)),
                Cell(_all(f"{s.get('processes', '?')} x {s.get('threads', '?')}" for s in runs)),
                Cell(_mean([s["images_per_second"] for s in runs if s.get("images_per_second")], ",.0f")),
                Cell(duration(mean(seconds)) if seconds else NOTHING),
                Cell(_mean([value / GIB for value in host], ".2f")),
                Cell(_mean([value / GIB for value in device], ".2f")),
                Cell(_compute(row.runs)),
            ]
        )
    return table


def _compute(runs: Sequence[Run]) -> str:
    hours = {"GPU": 0.0, "CPU core": 0.0}
    for run in runs:
        summary = run.summary
        processes = summary.get("processes", 1)
        if summary.get("train_seconds") is None:
            return NOTHING
        on_gpu = summary.get("peak_memory", {}).get("device") is not None
        share = summary["train_seconds"] * processes / 3600
        hours["GPU" if on_gpu else "CPU core"] += share if on_gpu else share * summary.get("threads", 1)
    return " + ".join(f"{value:.2f} {kind} h" for kind, value in hours.items() if value) or NOTHING


def duration(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _mean(values: Sequence[float], form: str) -> str:
    return format(mean(values), form) if values else NOTHING


def _all(values: Iterable[object]) -> str:
    """The distinct values, in their order."""
    return ", ".join(dict.fromkeys(NOTHING if value is None else str(value) for value in values))


def settings_table(comparison: Comparison) -> Table:
    """The settings that are not equal over the rows."""
    configs = [row.settings for row in comparison.rows]
    table = Table(["setting", *(row.label for row in comparison.rows)], [], words=1 + len(configs))
    for name in find_differences(configs):
        table.rows.append([Cell(name), *(Cell(format_setting(config.get(name))) for config in configs)])
    return table


def published_table(results: Sequence[Published]) -> Table:
    """Numbers of others."""
    columns = ["method", "measure", "setting", "source", "accuracy (%)"]
    rows = [[Cell(r.method), Cell(r.measure), Cell(r.setting), Cell(r.source), Cell(r.percent)] for r in results]
    return Table(columns, rows, words=4)


def setting_lines(comparison: Comparison) -> dict[str, str]:
    """What the rows have in common, in words."""
    runs = comparison.runs
    settings = [settings_of(run.experiment) for run in runs]

    def common(name: str) -> str:
        return _all(format_setting(config.get(name)) for config in settings)

    def together(*names: str) -> str:
        named = [(name, name.rpartition(".")[2].removeprefix("name") + " ") for name in names]
        return _all(
            ", ".join(f"{short}{format_setting(c.get(name))}".strip() for name, short in named) for c in settings
        )

    limits = [name for name in ("dataset.limit", "dataset.test_limit") if common(name) != "None"]
    lines = {
        "data set": common("dataset.name") + "".join(f", {n.rpartition('.')[2]} {common(n)}" for n in limits),
        "images": f"{common('img_size')} px",
        "backbone": _all(run.summary.get("backbone") for run in runs),
        "epochs": common("epochs"),
        "batch": common("batch_size"),
        "optimizer": together(*(f"optimizer.{name}" for name in ("name", "lr", "weight_decay"))),
        "schedule": together(*(n for n in settings[0] if belongs(n, "schedule"))),
        "precision": common("precision"),
        "seeds": _all(sorted({run.seed for run in runs})),
        "device": _all(_device(run) for run in runs),
        "versions": _all(_versions(run) for run in runs),
        "commit": _all(run.environment.get("commit") for run in runs),
        "protocol": " / ".join(dict.fromkeys(str(run.summary.get("protocol")) for run in runs)),
    }
    return {name: text for name, text in lines.items() if text}


def _device(run: Run) -> str:
    summary = run.summary
    processes, threads = summary.get("processes", "?"), summary.get("threads", "?")
    return f"{summary.get('device', 'unknown')}, processes: {processes}, threads per process: {threads}"


def _versions(run: Run) -> str:
    packages = run.environment.get("packages", {})
    wanted = [f"{name} {packages[name]}" for name in ("sslzoo", "torch", "timm", "accelerate") if name in packages]
    return ", ".join([f"Python {run.environment.get('python', '?')}", *wanted])
