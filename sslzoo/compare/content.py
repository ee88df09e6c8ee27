"""What the page of a comparison says."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from sslzoo.compare.encode import Encoded, encode_test
from sslzoo.compare.figures import Figure, accuracy_figure, curves_figure, neighbor_figures, tsne_figure
from sslzoo.compare.folder import ComparisonFolder
from sslzoo.compare.neighbors import NEIGHBORS
from sslzoo.compare.notes import cost_notes, result_notes
from sslzoo.compare.rows import Comparison, Row
from sslzoo.compare.tables import Table, cost_table, published_table, results_table, setting_lines, settings_table
from sslzoo.report.published import published
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import show_stage

PUBLISHED_NOTE = (
    "For orientation, never to be read as one table with ours. These are other people's runs with their own epochs, "
    "views and tuning: some score the best epoch on the test split, some train the probe online, while the results "
    "above are the frozen backbone of the last epoch, with settings chosen on a held-out part of train."
)
NEIGHBORS_NOTE = (
    f"Left of each line: the first test image of a class. Beside it: the {NEIGHBORS} other test images whose "
    "features are most similar (cosine), the most similar first. A solid blue frame and = are the same class, a dashed "
    "orange frame and ≠ another one. Each method is asked about the same images; so few of them rank nothing."
)


@dataclass(frozen=True)
class Content:
    """What the page says, from its top to its end."""

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
    left_out: list[str]
    """Why rows are not among the images of features."""
    neighbors: list[Figure]
    neighbors_note: str
    differences: Table
    command: str
    published: Table | None
    published_note: str


def create_content(comparison: Comparison, folder: ComparisonFolder, console: Console) -> Content:
    """Words, tables and figures; the figures' files are written."""
    folder.images.mkdir(parents=True, exist_ok=True)
    rows, runs = comparison.rows, comparison.runs
    datasets = list(dict.fromkeys(run.experiment.dataset.name for run in runs))
    encoded, left_out = _encode(rows, console)
    results = [result for dataset in datasets for result in published(dataset)]
    with show_stage(console, "drawing"):
        return Content(
            title=f"{_and([row.label for row in rows])} on {_and(datasets)}",
            introduction=f"{len(runs)} runs: {_and([_seeded(row) for row in rows])}. Differences are to "
            f"{comparison.baseline.label}.",
            warnings=[f"Not finished, and left out: {text}" for text in comparison.missing],
            setting=setting_lines(comparison),
            results=results_table(comparison),
            result_notes=result_notes(comparison),
            accuracy=accuracy_figure(rows, folder.images),
            cost=cost_table(comparison),
            cost_notes=cost_notes(comparison),
            curves=curves_figure(rows, folder.images),
            tsne=tsne_figure(encoded, folder.images) if encoded else None,
            left_out=left_out,
            neighbors=neighbor_figures(rows, encoded, folder.images),
            neighbors_note=NEIGHBORS_NOTE,
            differences=settings_table(comparison),
            command=comparison.command,
            published=published_table(results) if results else None,
            published_note=PUBLISHED_NOTE,
        )


def _encode(rows: Sequence[Row], console: Console) -> tuple[dict[str, Encoded], list[str]]:
    """The test images through each row's first run, and why some are left out."""
    encoded, left_out = {}, []
    for row in rows:
        try:
            with show_stage(console, f"encoding the test images: {row.label}"):
                encoded[row.label] = encode_test(row.runs[0].folder)
        except UserError as error:
            left_out.append(f"{row.label} is not among these images: {' '.join(str(error).split())}")
    return encoded, left_out


def _and(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _seeded(row: Row) -> str:
    return f"{row.label} with {len(row.runs)} {'seed' if len(row.runs) == 1 else 'seeds'}"
