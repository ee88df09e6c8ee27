"""The result of a run as a table and as a file."""

from collections.abc import Mapping

from rich.table import Table

from sslzoo.evaluate.score import Score, Scores

CLASSIFIERS = {
    "knn": "kNN",
    "linear": "linear probe",
    "logistic": "logistic regression",
    "augmented": "augmented linear probe",
    "fine-tune": "fine-tuning",
}
"""What tables and images call the classifiers."""


def summary_table(results: Mapping[str, Scores], title: str) -> Table:
    """Test accuracy of each classifier, a line an encoder."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("encoder")
    for classifier in next(iter(results.values())).by_classifier:
        table.add_column(f"{CLASSIFIERS[classifier]} (%)", justify="right")
    for name, scores in results.items():
        table.add_row(name, *map(percent, scores.by_classifier.values()))
    return table


def percent(score: Score) -> str:
    """`93.1 ± 0.8`, the deviation where there are several draws."""
    spread = "" if score.std is None else f" ± {100 * score.std:.1f}"
    return f"{100 * score.accuracy:.1f}{spread}"
