"""Write the figures of the page to files and embed them with captions."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from PIL import Image

from sslzoo.comparison import charts
from sslzoo.comparison.encode import EncodedImages
from sslzoo.comparison.neighbors import choose_queries, find_neighbors
from sslzoo.comparison.rows import Row
from sslzoo.config.folders import slugify
from sslzoo.report.plots import MAX_POINTS

PIXEL_RATIO = 1.4
"""Bitmap pixels per CSS pixel."""


@dataclass(frozen=True)
class Figure:
    """A figure with its caption."""

    name: str
    """Name of its files, without extension."""
    title: str
    caption: str
    data: str
    """The image as a data URI."""
    width: int | None
    """Width in CSS pixels; None for the width of the page."""


def create_accuracy_figure(rows: Sequence[Row], folder: Path) -> Figure:
    """Create the figure of test accuracies."""
    caption = (
        "Test accuracy. Rings are seeds, the diamond is their mean, the bar its 95 % confidence interval (none "
        "with one seed)."
    )
    return _write_figure(folder / "accuracy", "Test accuracy of each seed", caption, partial(charts.draw_dots, rows))


def create_curves_figure(rows: Sequence[Row], folder: Path) -> Figure:
    """Create the figure of training curves."""
    caption = (
        "Line: mean over seeds; band: their range. Left: kNN on the held-out part of train (k = 200, temperature 0.1); "
        "the test split is not used. Right: losses of different targets and losses have different minima and cannot be "
        "compared."
    )
    return _write_figure(folder / "curves", "kNN and loss over epochs", caption, partial(charts.draw_curves, rows))


def create_tsne_figure(encoded: Mapping[str, EncodedImages], folder: Path) -> Figure:
    """Create the t-SNE figure."""
    count = min(MAX_POINTS, *(len(one.features) for one in encoded.values()))
    caption = (
        f"t-SNE (cosine) of the backbone's features of {count:,} test images: the same images and colors in "
        "each panel, the first seed of each row. Cluster sizes and distances between clusters have no meaning."
    )
    draw = partial(charts.draw_tsne, encoded)
    return _write_figure(folder / "tsne", "t-SNE of test features", caption, draw, vector=False)


def create_neighbor_figures(rows: Sequence[Row], encoded: Mapping[str, EncodedImages], folder: Path) -> list[Figure]:
    """Create a sheet of neighbors for each encoded row."""
    figures = []
    for number, row in enumerate(row for row in rows if row.label in encoded):
        one, run = encoded[row.label], row.runs[0]
        found = find_neighbors(one.features, choose_queries(one.labels))
        same = int((one.labels[found.nearest] == one.labels[found.queries][:, None]).sum())
        title = f"{row.label}, seed {run.seed}"
        caption = f"{title}: {same} of {found.nearest.size} neighbors have the same class."
        draw = partial(charts.draw_neighbors, run, one, found, title=title)
        path = folder / f"neighbors-{number + 1}-{slugify(row.label)}"
        figures.append(_write_figure(path, f"Nearest neighbors: {title}", caption, draw, vector=False))
    return figures


def _write_figure(path: Path, title: str, caption: str, draw: Callable[[Path], None], *, vector: bool = True) -> Figure:
    """Draw a figure to files and embed it, as SVG or, if that would be large, as PNG."""
    with rc_context({"text.parse_math": False}):  # a $ in a label is literal
        draw(path)
    kind, mime = (".svg", "image/svg+xml") if vector else (".png", "image/png")
    data = base64.b64encode((path.parent / f"{path.name}{kind}").read_bytes()).decode("ascii")
    width = None
    if not vector:
        with Image.open(path.parent / f"{path.name}.png") as image:
            width = round(image.width / PIXEL_RATIO)
    return Figure(path.name, title, caption, f"data:{mime};base64,{data}", width)
