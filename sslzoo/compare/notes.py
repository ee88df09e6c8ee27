"""How to read the tables of the page, in plain words."""

from sslzoo.compare.agreement import find_mismatches
from sslzoo.compare.rows import Comparison
from sslzoo.compare.statistics import interval_factor


def result_notes(comparison: Comparison) -> list[str]:
    """How to read the table of results, in plain words."""
    seeds = [len(row.runs) for row in comparison.rows]
    few = min(seeds)
    notes = [
        "Accuracy on the test split: mean over seeds ± half-width of its 95 % confidence interval (Student's t). "
        f"Difference: to {comparison.baseline.label}, seed by seed, with its interval and the p of the paired t-test; "
        "bold where p < 0.05.",
        "The intervals cover seeds only: they do not show how results would vary with other test images.",
    ]
    if few < 2:
        notes.append("With one seed there is no interval and no test: whether a difference is chance stays open.")
    elif few <= 5:
        notes.append(
            f"{few} seeds detect only large differences: the interval reaches {interval_factor(few):.1f} standard "
            "deviations of the difference to either side. A difference that is not bold is not shown to be absent."
        )
    if len(comparison.rows) > 2 and max(seeds) > 1:
        notes.append(
            f"The p values are not corrected for the number of rows: {len(comparison.rows) - 1} differences to one "
            "baseline are tested, so one of them below 0.05 is not rare by chance."
        )
    draws = {scores["draws"] for run in comparison.runs for scores in run.summary.get("test", {}).values()}
    if max(draws, default=1) > 1:
        notes.append(f"Each seed's result is itself the mean of {max(draws)} draws of a few labels.")
    if find_mismatches([row.settings for row in comparison.rows], comparison.axes):
        notes.append(
            "MIXED: the rows differ in more than the method, as the column `not alike` shows, so a difference between "
            "them is not the method's alone."
        )
    return notes


def cost_notes(comparison: Comparison) -> list[str]:
    """What the table of cost counts."""
    notes = [
        "Training alone, without kNN and scoring; mean over seeds, compute as a sum. GPU hours are time x processes, "
        "CPU core hours time x processes x threads. Memory is the peak of the process that took most, scoring included."
    ]
    devices = sorted({str(run.summary.get("device")) for run in comparison.runs})
    if len(devices) > 1:
        notes.append(f"The runs were made on different devices ({', '.join(devices)}): their speeds do not compare.")
    return notes
