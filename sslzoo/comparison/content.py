"""Assemble texts, tables and figures of the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from sslzoo.comparison.encode import EncodedImages, encode_test
from sslzoo.comparison.figures import (
    Figure,
    create_accuracy_figure,
    create_curves_figure,
    create_neighbor_figures,
    create_tsne_figure,
)
from sslzoo.comparison.folder import ComparisonFolder
from sslzoo.comparison.neighbors import NEIGHBORS
from sslzoo.comparison.notes import create_cost_notes, create_result_notes
from sslzoo.comparison.rows import Comparison, Row
from sslzoo.comparison.tables import (
    Table,
    create_cost_table,
    create_published_table,
    create_results_table,
    create_settings_table,
    list_shared_settings,
)
from sslzoo.health.verdict import HEALTHY
from sslzoo.report.published import load_published
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import show_stage

PUBLISHED_NOTE = (
    "For orientation only: these numbers must not be merged with the table above. They come from other projects with "
    "their own epochs, views and tuning. Some report the best epoch on the test split, some train the probe online; "
    "the results above use the frozen backbone of the last epoch, with settings chosen on a held-out part of train."
)
NEIGHBORS_NOTE = (
    f"Left of each line: the first test image of a class. Beside it: the {NEIGHBORS} other test images with the most "
    "similar features (cosine), most similar first. A solid blue frame and = mark the same class, a dashed orange "
    "frame and ≠ another class. All methods use the same query images, which are too few to rank methods."
)


@dataclass(frozen=True)
class Content:
    """Content of the page, from top to bottom."""

    title: str
    introduction: str
    warnings: list[str]
    setting: dict[str, str]
    results: Table
    result_notes: list[str]
    accuracy: Figure
    cost: Table
    cost_notes: list[str]
    curves: Figure
    tsne: Figure | None
    skipped: list[str]
    """Why rows are missing in the figures of features."""
    neighbors: list[Figure]
    neighbors_note: str
    differences: Table
    command: str
    published: Table | None
    published_note: str


def create_content(comparison: Comparison, folder: ComparisonFolder, console: Console) -> Content:
    """Create texts, tables and figures, and write the files of the figures."""
    folder.images.mkdir(parents=True, exist_ok=True)
    rows, runs = comparison.rows, comparison.runs
    datasets = list(dict.fromkeys(run.experiment.dataset.name for run in runs))
    encoded, skipped = _encode(rows, console)
    results = [result for dataset in datasets for result in load_published(dataset)]
    with show_stage(console, "drawing figures"):
        return Content(
            title=f"{_join_words([row.label for row in rows])} on {_join_words(datasets)}",
            introduction=f"{len(runs)} runs: {_join_words([_describe_seeds(row) for row in rows])}. The baseline is "
            f"{comparison.baseline.label}.",
            warnings=[f"Missing, because the run did not finish: {text}" for text in comparison.missing]
            + [warning for row in rows for warning in list_health_warnings(row)],
            setting=list_shared_settings(comparison),
            results=create_results_table(comparison),
            result_notes=create_result_notes(comparison),
            accuracy=create_accuracy_figure(rows, folder.images),
            cost=create_cost_table(comparison),
            cost_notes=create_cost_notes(comparison),
            curves=create_curves_figure(rows, folder.images),
            tsne=create_tsne_figure(encoded, folder.images) if encoded else None,
            skipped=skipped,
            neighbors=create_neighbor_figures(rows, encoded, folder.images),
            neighbors_note=NEIGHBORS_NOTE,
            differences=create_settings_table(comparison),
            command=comparison.command,
            published=create_published_table(results) if results else None,
            published_note=PUBLISHED_NOTE,
        )


def list_health_warnings(row: Row) -> list[str]:
    """List the runs of a row that were not healthy at the end of training."""
    verdicts = [(run.seed, run.summary.get("health")) for run in row.runs]
    return [
        f"{row.label}, seed {seed}, was not healthy at the end of training: {health['description']}"
        for seed, health in verdicts
        if health is not None and health["verdict"] != HEALTHY.kind
    ]


def _encode(rows: Sequence[Row], console: Console) -> tuple[dict[str, EncodedImages], list[str]]:
    """Encode the test images with the first run of each row; also return why rows were skipped."""
    encoded, skipped = {}, []
    for row in rows:
        try:
            with show_stage(console, f"encoding the test images: {row.label}"):
                encoded[row.label] = encode_test(row.runs[0].folder)
        except UserError as error:
            skipped.append(f"{row.label} is missing in these figures: {' '.join(str(error).split())}")
    return encoded, skipped


def _join_words(words: Sequence[str]) -> str:
    """Join words as in `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _describe_seeds(row: Row) -> str:
    return f"{row.label} with {len(row.runs)} {'seed' if len(row.runs) == 1 else 'seeds'}"
