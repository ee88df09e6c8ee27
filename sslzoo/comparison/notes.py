"""Notes below the tables of the page."""

from sslzoo.comparison.agreement import find_mismatches
from sslzoo.comparison.rows import Comparison
from sslzoo.comparison.statistics import interval_factor


def create_result_notes(comparison: Comparison) -> list[str]:
    """Explain the table of results."""
    seeds = [len(row.runs) for row in comparison.rows]
    fewest = min(seeds)
    notes = [
        "Accuracy on the test split: mean over seeds ± half-width of its 95 % confidence interval (Student's t). "
        f"Difference: to {comparison.baseline.label}, seed by seed, with its interval and the p of the paired t-test; "
        "bold where p < 0.05.",
        "The intervals describe variation over seeds only, not over other test images.",
    ]
    if fewest < 2:
        notes.append("One seed gives no interval and no test: a difference may be due to chance.")
    elif fewest <= 5:
        notes.append(
            f"{fewest} seeds detect only large differences: the interval extends {interval_factor(fewest):.1f} "
            "standard deviations of the difference to either side. A difference that is not bold is not shown to be "
            "absent."
        )
    if len(comparison.rows) > 2 and max(seeds) > 1:
        notes.append(
            f"The p values are not corrected for the number of rows: {len(comparison.rows) - 1} differences to one "
            "baseline are tested, so one of them may be below 0.05 by chance."
        )
    draws = {scores["draws"] for run in comparison.runs for scores in run.summary.get("test", {}).values()}
    if max(draws, default=1) > 1:
        notes.append(f"The result of each seed is the mean over {max(draws)} draws of a few labels.")
    if find_mismatches([row.settings for row in comparison.rows], comparison.axes):
        notes.append(
            "MIXED: the rows differ in more than the method, as the column `differing settings` shows; differences "
            "between them are not due to the method alone."
        )
    for row in comparison.rows:
        for run in row.runs:
            if changes := run.summary.get("changes"):
                notes.append(
                    f"CHANGED: settings or data of {row.label}, seed {run.seed} changed during its training, which was "
                    f"continued with --resume-anyway: {'; '.join(changes)}."
                )
    return notes


def create_cost_notes(comparison: Comparison) -> list[str]:
    """Explain the table of cost."""
    notes = [
        "Training only, without kNN and evaluation; mean over seeds, compute is the sum. GPU hours are time x "
        "processes, CPU core hours are time x processes x threads. Memory is the highest peak of a process, "
        "evaluation included."
    ]
    devices = sorted({str(run.summary.get("device")) for run in comparison.runs})
    if len(devices) > 1:
        notes.append(f"The runs used different devices ({', '.join(devices)}): their speeds cannot be compared.")
    return notes
