"""Table of test accuracies by encoder, and the names of classifiers in tables."""

from collections.abc import Mapping

from rich.table import Table

from sslzoo.evaluation.score import Score, Scores

CLASSIFIERS = {
    "knn": "kNN",
    "linear": "linear probe",
    "logistic": "logistic regression",
    "augmented": "augmented linear probe",
    "fine-tune": "fine-tuning",
}
"""Names of the classifiers in tables and plots."""


def create_summary_table(results: Mapping[str, Scores], title: str) -> Table:
    """Create the table of test accuracies, with a row for each encoder and a column for each classifier."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("encoder")
    for classifier in next(iter(results.values())).by_classifier:
        table.add_column(f"{CLASSIFIERS[classifier]} (%)", justify="right")
    for name, scores in results.items():
        table.add_row(name, *map(format_accuracy, scores.by_classifier.values()))
    return table


def format_accuracy(score: Score) -> str:
    """Format the accuracy in percent, with its standard deviation if there are several draws: `93.1 ± 0.8`."""
    spread = "" if score.std is None else f" ± {100 * score.std:.1f}"
    return f"{100 * score.accuracy:.1f}{spread}"
