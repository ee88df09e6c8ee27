"""Runs and rows as lines of CSV files, numbers unrounded."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslzoo.compare.charts import CLASSIFIERS
from sslzoo.compare.rows import Comparison
from sslzoo.compare.statistics import estimate, paired


def run_lines(comparison: Comparison) -> list[dict[str, Any]]:
    """A line a run, accuracies in percent."""
    lines = []
    for row in comparison.rows:
        for run in row.runs:
            summary = run.summary
            peak = summary.get("peak_memory", {})
            lines.append(
                {
                    "label": row.label,
                    "seed": run.seed,
                    **{f"{name}_percent": run.percent("trained", name) for name in CLASSIFIERS},
                    **{f"untrained_{name}_percent": run.percent("untrained", name) for name in CLASSIFIERS},
                    **{f"raw_pixels_{name}_percent": run.percent("raw pixels", name) for name in CLASSIFIERS},
                    **{name: summary.get(name) for name in ("directions", "epochs", "steps", "device", "processes")},
                    **{name: summary.get(name) for name in ("threads", "train_seconds", "images_per_second")},
                    "peak_host_bytes": peak.get("host"),
                    "peak_device_bytes": peak.get("device"),
                    "folder": str(run.folder),
                }
            )
    return lines


def row_lines(comparison: Comparison) -> list[dict[str, Any]]:
    """A line a row: means, half-widths of their 95 % intervals, and paired differences, in percent and points."""
    lines = []
    for row in comparison.rows:
        line: dict[str, Any] = {"label": row.label, "seeds": len(row.runs), "baseline": comparison.baseline.label}
        for name in CLASSIFIERS:
            ours, theirs = (one.percents("trained", name) for one in (row, comparison.baseline))
            whole = estimate(list(ours.values())) if ours else None
            found = None if row is comparison.baseline else paired(ours, theirs)
            line |= {
                f"{name}_mean": whole and whole.mean,
                f"{name}_half_width": whole and whole.half_width,
                f"{name}_difference": found and found.mean,
                f"{name}_difference_half_width": found and found.half_width,
                f"{name}_difference_n": found and found.n,
                f"{name}_p": found and found.p,
            }
        lines.append(line)
    return lines


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """A CSV file with a heading, in UTF-8."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
