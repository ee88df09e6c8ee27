"""Plots of runs and evaluations as PNG and SVG, in colors that color-blind readers can distinguish."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, BLUE, ORANGE = "#222222", "#0072b2", "#d55e00"
CLASSES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#332288", "#999933", "#882255", "#555555"]
"""Ten colors of classes, after Okabe and Ito (2008) and Paul Tol (2021)."""
MARKERS = "os^Dvp*XPh"
"""Markers that distinguish classes of the same color."""
MAX_POINTS = 2000
"""Maximum number of points in a t-SNE plot."""
MAX_CLASS_NAMES = 30
"""Maximum number of classes that are named in a confusion matrix."""


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draw the curves of `plot_curves`.

    Args:
        path: file path without suffix; written as .png and .svg.
    """
    save_figure(plot_curves(records, title=title), path)


def plot_curves(records: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Plot loss and kNN accuracy over epochs, with the accuracy before training as a dashed line.

    Args:
        records: lines of metrics.jsonl, with `epoch` and `loss` or `knn`.
    """
    loss = [(r["epoch"], r["loss"]) for r in records if "loss" in r]
    knn = [(r["epoch"], 100 * r["knn"]) for r in records if "knn" in r]
    figure = create_figure(width=7.0, height=2.9)
    left, right = figure.subplots(1, 2)
    if loss:
        left.plot(*zip(*loss, strict=True), color=BLUE, linewidth=1.2)
    left.set(xlabel="epoch", ylabel="loss (nats)")
    if knn:
        right.plot(*zip(*knn, strict=True), color=BLUE, marker="o", markersize=3, linewidth=1.2)
        _annotate(right, f"{knn[-1][1]:.1f}", knn[-1], BLUE)
        if knn[0][0] == 0:
            right.axhline(knn[0][1], color=ORANGE, linestyle="--", linewidth=1)
            _annotate(right, "before training", (knn[-1][0], knn[0][1]), ORANGE)
    else:
        right.text(0.5, 0.5, "kNN was not evaluated", ha="center", va="center", transform=right.transAxes)
    right.set(xlabel="epoch", ylabel="kNN accuracy on held-out train (%)")
    figure.suptitle(title, fontsize=9)
    style_axes(figure)
    return figure


def _annotate(axes: Axes, text: str, point: tuple[float, float], color: str) -> None:
    axes.annotate(text, point, xytext=(0, 4), textcoords="offset points", ha="right", color=color, fontsize=8)


def draw_tsne(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    path: Path,
    *,
    title: str,
    seed: int,
) -> None:
    """Draw a t-SNE (van der Maaten and Hinton 2008) of features (N, D), colored by class.

    Uses cosine distance, as in kNN, and otherwise scikit-learn's defaults, on a random sample of at most `MAX_POINTS`.
    """
    points, labels = compute_tsne(features, labels, seed)
    figure = create_figure(width=5.6, height=4.4)
    axes = figure.subplots()
    scatter_classes(axes, points, labels, classes)
    if len(classes) <= 2 * len(CLASSES):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, markerscale=1.8)
    figure.suptitle(f"{title}, {len(points):,} test images", fontsize=9)
    save_figure(figure, path)


def compute_tsne(
    features: NDArray[np.float32], labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Compute the t-SNE points (M, 2) of features (N, D) and their labels (M,), with M of at most `MAX_POINTS`."""
    from sklearn.manifold import TSNE  # takes a second to import

    if len(features) > MAX_POINTS:
        sample = np.sort(np.random.default_rng(seed).choice(len(features), MAX_POINTS, replace=False))
        features, labels = features[sample], labels[sample]
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(features), labels


def scatter_classes(axes: Axes, points: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Draw points (M, 2) with a color for each class and, with more than ten classes, other markers."""
    for label in np.unique(labels):
        members = points[labels == label]
        axes.scatter(
            members[:, 0],
            members[:, 1],
            s=9,
            linewidths=0,
            color=CLASSES[label % len(CLASSES)],
            marker=MARKERS[label // len(CLASSES) % len(MARKERS)],
            label=classes[label],
        )
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")


def draw_confusion(counts: NDArray[np.int64], classes: Sequence[str], path: Path, *, title: str) -> None:
    """Draw the confusion matrix: the share of each class's test images by predicted class.

    Args:
        counts: (C, C) number of images by class (row) and predicted class (column).
        path: file path without suffix; written as .png and .svg.
    """
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with_names = len(classes) <= MAX_CLASS_NAMES
    side = max(3.6, 0.34 * len(classes) + 1.4) if with_names else 6.0
    figure = create_figure(width=side + 0.9, height=side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    if with_names:
        ticks = np.arange(len(classes))
        axes.set_xticks(ticks, classes, rotation=90)
        axes.set_yticks(ticks, classes)
        for row, column in zip(*np.nonzero(shares >= 0.5), strict=True):
            color = "white" if shares[row, column] > 55 else INK
            text = f"{shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=color)
    axes.set(xlabel="predicted class", ylabel="class")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("share of the class's test images (%)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


class PlainFigure(Figure):
    """A figure without pyplot's global state, which notebooks display whatever the backend is."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=110)
        return content.getvalue()


def create_figure(width: float, height: float) -> Figure:
    """Create a figure of this size in inches."""
    figure = PlainFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(figure: Figure) -> None:
    """Style the axes of a figure."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)


def save_figure(figure: Figure, path: Path) -> None:
    """Style the axes of a figure and write it as .png and .svg."""
    style_axes(figure)
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=150)  # the name may contain dots
    figure.savefig(path.with_name(f"{path.name}.svg"))
