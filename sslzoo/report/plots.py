"""Plots of a run, as PNG and SVG, in colors that color-blind readers can distinguish."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, BLUE, ORANGE = "#222222", "#0072b2", "#d55e00"
# ten colors after Okabe and Ito (2008) and Paul Tol (2021), then markers make more of them
CLASSES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#332288", "#999933", "#882255", "#555555"]
MARKERS = "os^Dvp*XPh"
MAX_POINTS = 2000
"""Points of a t-SNE image."""
MOST_NAMES = 30
"""Classes that are named in a confusion image."""


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Loss and kNN accuracy over epochs, with the accuracy before training as a dashed line.

    Args:
        records: lines of metrics.jsonl, with `epoch` and `loss` or `knn`.
        path: where to write, once as .png and once as .svg.
    """
    loss = [(r["epoch"], r["loss"]) for r in records if "loss" in r]
    knn = [(r["epoch"], 100 * r["knn"]) for r in records if "knn" in r]
    figure = new_figure(width=7.0, height=2.9)
    left, right = figure.subplots(1, 2)
    if loss:
        left.plot(*zip(*loss, strict=True), color=BLUE, linewidth=1.2)
    left.set(xlabel="epoch", ylabel="loss (nats)")
    if knn:
        right.plot(*zip(*knn, strict=True), color=BLUE, marker="o", markersize=3, linewidth=1.2)
        _note(right, f"{knn[-1][1]:.1f}", knn[-1], BLUE)
        if knn[0][0] == 0:
            right.axhline(knn[0][1], color=ORANGE, linestyle="--", linewidth=1)
            _note(right, "before training", (knn[-1][0], knn[0][1]), ORANGE)
    else:
        right.text(0.5, 0.5, "kNN was not watched", ha="center", va="center", transform=right.transAxes)
    right.set(xlabel="epoch", ylabel="kNN accuracy on held-out train (%)")
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def _note(axes: Axes, text: str, place: tuple[float, float], color: str) -> None:
    axes.annotate(text, place, xytext=(0, 4), textcoords="offset points", ha="right", color=color, fontsize=8)


def draw_tsne(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    path: Path,
    *,
    title: str,
    seed: int,
) -> None:
    """t-SNE (van der Maaten and Hinton 2008) of features (N, D), colored by class.

    Cosine distance as in kNN, scikit-learn's defaults otherwise; of more than 2,000 features a random part.
    """
    places, labels = project(features, labels, seed)
    figure = new_figure(width=5.6, height=4.4)
    axes = figure.subplots()
    scatter_classes(axes, places, labels, classes)
    if len(classes) <= 2 * len(CLASSES):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, markerscale=1.8)
    figure.suptitle(f"{title}, {len(places):,} test images", fontsize=9)
    save(figure, path)


def project(
    features: NDArray[np.float32], labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Places (M, 2) of features (N, D) in a t-SNE image, and labels (M,) of them; M is 2,000 at most."""
    from sklearn.manifold import TSNE  # takes a second to import

    if len(features) > MAX_POINTS:
        part = np.sort(np.random.default_rng(seed).choice(len(features), MAX_POINTS, replace=False))
        features, labels = features[part], labels[part]
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(features), labels


def scatter_classes(axes: Axes, places: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Points (M, 2), each class with its own color and, beyond ten classes, its own marker."""
    for label in np.unique(labels):
        mine = places[labels == label]
        axes.scatter(
            mine[:, 0],
            mine[:, 1],
            s=9,
            linewidths=0,
            color=CLASSES[label % len(CLASSES)],
            marker=MARKERS[label // len(CLASSES) % len(MARKERS)],
            label=classes[label],
        )
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")


def draw_confusion(counts: NDArray[np.int64], classes: Sequence[str], path: Path, *, title: str) -> None:
    """Share of each class's test images that were answered as each class.

    Args:
        counts: (C, C), row: the class, column: the answer.
        path: where to write, once as .png and once as .svg.
    """
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = len(classes) <= MOST_NAMES
    side = max(3.6, 0.34 * len(classes) + 1.4) if names else 6.0
    figure = new_figure(width=side + 0.9, height=side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    if names:
        places = np.arange(len(classes))
        axes.set_xticks(places, classes, rotation=90)
        axes.set_yticks(places, classes)
        for row, column in zip(*np.nonzero(shares >= 0.5), strict=True):
            color = "white" if shares[row, column] > 55 else INK
            text = f"{shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=color)
    axes.set(xlabel="answer", ylabel="class")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("share of the class's test images (%)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """A figure of that size in inches, outside of pyplot's state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure once as .png and once as .svg, its axes in the house style."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)
    figure.savefig(path.with_suffix(".png"), dpi=150)
    figure.savefig(path.with_suffix(".svg"))
