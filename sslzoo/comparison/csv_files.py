"""Write runs and rows as CSV files, with unrounded numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslzoo.comparison.charts import CLASSIFIERS
from sslzoo.comparison.rows import Comparison
from sslzoo.comparison.statistics import compare_pairs, estimate_mean
from sslzoo.runtime.files import write_csv


def list_runs(comparison: Comparison) -> list[dict[str, Any]]:
    """List a record per run, accuracies in percent."""
    records = []
    for row in comparison.rows:
        for run in row.runs:
            summary = run.summary
            peak = summary.get("peak_memory", {})
            records.append(
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
    return records


def list_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """List a record per row: means, half-widths of their 95 % intervals, and paired differences; percent and points."""
    records = []
    for row in comparison.rows:
        record: dict[str, Any] = {"label": row.label, "seeds": len(row.runs), "baseline": comparison.baseline.label}
        for name in CLASSIFIERS:
            ours, theirs = (one.percents("trained", name) for one in (row, comparison.baseline))
            mean = estimate_mean(list(ours.values())) if ours else None
            difference = None if row is comparison.baseline else compare_pairs(ours, theirs)
            record |= {
                f"{name}_mean": mean and mean.mean,
                f"{name}_half_width": mean and mean.half_width,
                f"{name}_difference": difference and difference.mean,
                f"{name}_difference_half_width": difference and difference.half_width,
                f"{name}_difference_n": difference and difference.n,
                f"{name}_p": difference and difference.p,
            }
        records.append(record)
    return records


def write_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write records with the same keys as a CSV file with a header."""
    write_csv(path, [list(records[0]), *(list(record.values()) for record in records)])
