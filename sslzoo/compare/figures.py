"""The figures of the page with their captions: drawn to files, and embedded."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from PIL import Image

from sslzoo.compare import charts
from sslzoo.compare.encode import Encoded
from sslzoo.compare.neighbors import choose_queries, nearest_neighbors
from sslzoo.compare.rows import Row
from sslzoo.config.folders import slugify
from sslzoo.report.plots import MOST_POINTS

SHARPNESS = 1.4
"""Pixels of a bitmap for each CSS pixel."""


@dataclass(frozen=True)
class Figure:
    """An image with its caption."""

    name: str
    """Of its files, without ending."""
    title: str
    caption: str
    data: str
    """The image itself, as a data URI."""
    width: int | None
    """In CSS pixels; None is the page's."""


def accuracy_figure(rows: Sequence[Row], folder: Path) -> Figure:
    """Each seed's accuracy."""
    caption = (
        "Test accuracy. A ring is a seed, the diamond the mean, the bar its 95 % confidence interval; with one seed "
        "there is no bar."
    )
    return _write_figure(folder / "accuracy", "Test accuracy of each seed", caption, partial(charts.draw_dots, rows))


def curves_figure(rows: Sequence[Row], folder: Path) -> Figure:
    """How training went."""
    caption = (
        "The mean over seeds as a line, from the smallest to the largest as a band. Left: kNN on the held-out part of "
        "train (k = 200, temperature 0.1), the test split untouched. Right: different targets and losses have "
        "different floors, so the heights of these curves do not compare."
    )
    return _write_figure(folder / "curves", "kNN and loss over epochs", caption, partial(charts.draw_curves, rows))


def tsne_figure(encoded: Mapping[str, Encoded], folder: Path) -> Figure:
    """Features in the plane, side by side."""
    shown = min(MOST_POINTS, *(len(one.features) for one in encoded.values()))
    caption = (
        f"t-SNE (cosine) of the backbone's features of {shown:,} test images: the same images and the same colors "
        "in each panel, the first seed of each row. Sizes of clusters and distances between them mean nothing."
    )
    draw = partial(charts.draw_tsne, encoded)
    return _write_figure(folder / "tsne", "t-SNE of test features", caption, draw, vector=False)


def neighbor_figures(rows: Sequence[Row], encoded: Mapping[str, Encoded], folder: Path) -> list[Figure]:
    """A sheet of neighbors for each row that was encoded."""
    figures = []
    for number, row in enumerate(row for row in rows if row.label in encoded):
        one, run = encoded[row.label], row.runs[0]
        found = nearest_neighbors(one.features, choose_queries(one.labels))
        same = int((one.labels[found.nearest] == one.labels[found.queries][:, None]).sum())
        title = f"{row.label}, seed {run.seed}"
        caption = f"{title}: {same} of {found.nearest.size} neighbors are of the same class."
        draw = partial(charts.draw_neighbors, run, one, found, title=title)
        path = folder / f"neighbors-{number + 1}-{slugify(row.label)}"
        figures.append(_write_figure(path, f"Nearest neighbors: {title}", caption, draw, vector=False))
    return figures


def _write_figure(path: Path, title: str, caption: str, draw: Callable[[Path], None], *, vector: bool = True) -> Figure:
    """Draw, and embed the vector image, or the bitmap where a vector would be large."""
    with rc_context({"text.parse_math": False}):  # a $ in a label is a $
        draw(path)
    kind, mime = (".svg", "image/svg+xml") if vector else (".png", "image/png")
    data = base64.b64encode((path.parent / f"{path.name}{kind}").read_bytes()).decode("ascii")
    width = None
    if not vector:
        with Image.open(path.parent / f"{path.name}.png") as image:
            width = round(image.width / SHARPNESS)
    return Figure(path.name, title, caption, f"data:{mime};base64,{data}", width)
