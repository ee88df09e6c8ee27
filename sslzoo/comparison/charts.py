"""Draw the figures of a comparison as PNG and SVG; each row has a color that color-blind readers can distinguish."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sslzoo.comparison.encode import EncodedImages, render_images
from sslzoo.comparison.neighbors import Neighbors
from sslzoo.comparison.rows import Classifier, Row, Run
from sslzoo.comparison.statistics import estimate_mean
from sslzoo.evaluation import summary
from sslzoo.report.plots import BLUE, CLASSES, ORANGE, compute_tsne, create_figure, save_figure, scatter_classes

DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
CLASSIFIERS: dict[Classifier, str] = {"knn": summary.CLASSIFIERS["knn"], "linear": summary.CLASSIFIERS["linear"]}
MAX_COLUMNS = 4
"""Largest number of t-SNE panels in a row."""
GAP, LABEL_HEIGHT = 0.1, 0.26
"""Space between the images of a sheet, and above each for its label; in image sides."""
MIN_SMOOTH_SIDE = 64
"""Side in pixels from which on an image is antialiased; smaller ones are drawn with square pixels."""
MAX_LABEL_LENGTH = 10
"""Characters of a class name above an image."""


def get_color(number: int) -> str:
    """Color of a row, by its number."""
    return CLASSES[number % len(CLASSES)]


def get_line_style(number: int) -> Literal["-", "--", ":", "-."]:
    """Line style of a row, by its number; it changes when the colors repeat."""
    return DASHES[number // len(CLASSES) % len(DASHES)]


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw held-out kNN accuracy and loss over epochs: mean over seeds as a line, range as a band."""
    figure = create_figure(width=9.4, height=3.6 + 0.16 * math.ceil(len(rows) / 4))
    axes = figure.subplots(1, 2)
    for i, row in enumerate(rows):
        for panel, curve in zip(axes, (get_knn_curve, get_loss_curve), strict=True):
            _draw_band(panel, [curve(run) for run in row.runs], i)
    losses = {run.experiment.loss.name if run.experiment.loss else "built-in" for row in rows for run in row.runs}
    unit = " (nats)" if losses == {"cross-entropy"} else ""
    axes[0].set(xlabel="epoch", ylabel="kNN accuracy on held-out train (%)")
    axes[1].set(xlabel="epoch", ylabel=f"training loss{unit}, mean of each epoch")
    if not any(get_knn_curve(run) for row in rows for run in row.runs):
        axes[0].text(0.5, 0.5, "kNN was not evaluated", ha="center", va="center", transform=axes[0].transAxes)
    lines = [
        Line2D([], [], color=get_color(i), linestyle=get_line_style(i), linewidth=2, label=row.label)
        for i, row in enumerate(rows)
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(4, len(rows)), frameon=False, fontsize=9)
    save_figure(figure, path)


def get_knn_curve(run: Run) -> dict[float, float]:
    """Return kNN accuracy on the held-out part of train, in percent, by epoch."""
    return {record["epoch"]: 100 * record["knn"] for record in run.records if "knn" in record}


def get_loss_curve(run: Run) -> dict[float, float]:
    """Return the mean loss of each epoch, by the end of the epoch."""
    losses: dict[float, list[float]] = {}
    for record in run.records:
        if "loss" in record:
            losses.setdefault(float(math.ceil(record["epoch"] - 1e-6)), []).append(record["loss"])
    return {epoch: float(np.mean(values)) for epoch, values in losses.items()}


def _draw_band(axes: Axes, curves: Sequence[Mapping[float, float]], number: int) -> None:
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not epochs:
        return
    values = np.array([[curve[epoch] for epoch in epochs] for curve in curves])
    style: dict[str, Any] = {"color": get_color(number), "linestyle": get_line_style(number), "linewidth": 1.6}
    axes.plot(epochs, values.mean(axis=0), marker="o" if len(epochs) < 25 else None, markersize=3, **style)
    if len(curves) > 1:
        axes.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), color=get_color(number), alpha=0.15, linewidth=0
        )


def draw_dots(rows: Sequence[Row], path: Path) -> None:
    """Draw test accuracies: a ring per seed, and below them the mean with its 95 % confidence interval."""
    figure = create_figure(width=9.4, height=0.9 + 0.42 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (classifier, name) in zip((left, right), CLASSIFIERS.items(), strict=True):
        for i, row in enumerate(rows):
            values = list(row.percents("trained", classifier).values())
            if not values:
                continue
            axes.plot(values, np.full(len(values), i - 0.14), "o", mfc="none", mec=get_color(i), mew=1.4, ms=6)
            mean = estimate_mean(values)
            low, high = mean.mean - (mean.half_width or 0), mean.mean + (mean.half_width or 0)
            axes.plot([max(0, low), min(100, high)], [i + 0.14] * 2, color=get_color(i), linewidth=2)
            axes.plot([mean.mean], [i + 0.14], "D", color=get_color(i), ms=6)
        axes.set(xlabel=f"{name} accuracy on test (%)", ylim=(len(rows) - 0.5, -0.5))
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    left.set_yticks(range(len(rows)), [row.label for row in rows])
    save_figure(figure, path)


def draw_tsne(encoded: Mapping[str, EncodedImages], path: Path, *, seed: int = 0) -> None:
    """Draw t-SNE of the same test images, one panel per row; a class has the same color in all panels."""
    grid_rows = math.ceil(len(encoded) / MAX_COLUMNS)
    columns = math.ceil(len(encoded) / grid_rows)
    figure = create_figure(width=2.7 * columns, height=2.8 * grid_rows + 0.5)
    grid = figure.subplots(grid_rows, columns, squeeze=False).ravel()
    for axes in grid[len(encoded) :]:
        axes.set_axis_off()
    for axes, (label, one) in zip(grid, encoded.items(), strict=False):
        points, labels = compute_tsne(one.features, one.labels, seed)
        scatter_classes(axes, points, labels, one.classes)
        axes.set(xlabel="", ylabel="")
        axes.set_title(label, fontsize=10)
    classes = next(iter(encoded.values())).classes
    if len(classes) <= 2 * len(CLASSES):
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=min(len(names), 3 * columns), frameon=False,
            fontsize=9, markerscale=2, handletextpad=0.1,
        )  # fmt: skip
    save_figure(figure, path)


def draw_neighbors(run: Run, encoded: EncodedImages, found: Neighbors, path: Path, *, title: str) -> None:
    """Draw query images on the left, their nearest neighbors beside them; frames show whether the class matches."""
    indices = np.concatenate([found.queries[:, None], found.nearest], axis=1)
    lines, columns = indices.shape
    rendered = render_images(run.experiment, encoded.images, indices.ravel())
    figure = create_figure(width=0.66 * (1 + GAP) * columns, height=0.66 * (1 + LABEL_HEIGHT) * lines + 0.4)
    axes = figure.subplots()
    for number, (image, index) in enumerate(zip(rendered, indices.ravel(), strict=True)):
        line, column = divmod(number, columns)
        left, top = column * (1 + GAP), line * (1 + LABEL_HEIGHT)
        axes.imshow(
            image[..., 0] if image.shape[-1] == 1 else image,
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest" if len(image) < MIN_SMOOTH_SIDE else "antialiased",
            extent=(left, left + 1, top + 1, top),
        )
        label = encoded.labels[index]
        name, same = shorten(encoded.classes[label]), bool(label == encoded.labels[indices[line, 0]])
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 6.5}
        if column == 0:
            axes.text(left + 0.5, top - 0.04, name, fontweight="bold", **style)
            continue
        tint = BLUE if same else ORANGE
        axes.text(left + 0.5, top - 0.04, f"{'=' if same else '≠'} {name}", color=tint, **style)
        dash: Any = "-" if same else (0, (2, 1.2))
        axes.add_patch(Rectangle((left, top), 1, 1, fill=False, linewidth=2.2, edgecolor=tint, linestyle=dash))
    axes.set(
        xlim=(-0.03, columns * (1 + GAP) - GAP + 0.03),
        ylim=(lines * (1 + LABEL_HEIGHT) - LABEL_HEIGHT + 0.03, -LABEL_HEIGHT),
    )
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    save_figure(figure, path)


def shorten(name: str) -> str:
    """Shorten the name of a class to `MAX_LABEL_LENGTH` characters."""
    return name if len(name) <= MAX_LABEL_LENGTH else name[: MAX_LABEL_LENGTH - 1] + "…"
