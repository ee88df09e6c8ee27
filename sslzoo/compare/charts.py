"""Figures of a comparison as PNG and SVG, one color per row, in colors that color-blind readers can distinguish."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sslzoo.compare.encode import Encoded, show_images
from sslzoo.compare.neighbors import Neighbors
from sslzoo.compare.rows import Classifier, Row, Run
from sslzoo.compare.statistics import estimate
from sslzoo.evaluate import summary
from sslzoo.report.plots import BLUE, CLASSES, ORANGE, new_figure, project, save, scatter_classes

DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
CLASSIFIERS: dict[Classifier, str] = {"knn": summary.CLASSIFIERS["knn"], "linear": summary.CLASSIFIERS["linear"]}
PANELS = 4
"""Most t-SNE panels side by side."""
GAP, NAME = 0.1, 0.26
"""Room between images of a sheet and above them, in sides of an image."""
SHARP = 64
"""Side in pixels below which an image is shown with its pixels as squares."""
LONGEST_NAME = 10
"""Letters of a class's name below an image."""


def color(number: int) -> str:
    """Of the row of that number."""
    return CLASSES[number % len(CLASSES)]


def dashes(number: int) -> Literal["-", "--", ":", "-."]:
    """Line style of the row of that number: another one for each ten."""
    return DASHES[number // len(CLASSES) % len(DASHES)]


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Held-out kNN and loss over epochs: the mean over seeds as a line, their range as a band."""
    figure = new_figure(width=9.4, height=3.6 + 0.16 * math.ceil(len(rows) / 4))
    axes = figure.subplots(1, 2)
    for i, row in enumerate(rows):
        for place, curve in zip(axes, (knn_curve, loss_curve), strict=True):
            _band(place, [curve(run) for run in row.runs], i)
    losses = {run.experiment.loss.name if run.experiment.loss else "its own" for row in rows for run in row.runs}
    unit = " (nats)" if losses == {"cross-entropy"} else ""
    axes[0].set(xlabel="epoch", ylabel="kNN accuracy on held-out train (%)")
    axes[1].set(xlabel="epoch", ylabel=f"training loss{unit}, mean of each epoch")
    if not any(knn_curve(run) for row in rows for run in row.runs):
        axes[0].text(0.5, 0.5, "kNN was not watched", ha="center", va="center", transform=axes[0].transAxes)
    lines = [
        Line2D([], [], color=color(i), linestyle=dashes(i), linewidth=2, label=row.label) for i, row in enumerate(rows)
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(4, len(rows)), frameon=False, fontsize=9)
    save(figure, path)


def knn_curve(run: Run) -> dict[float, float]:
    """kNN accuracy on the held-out part of train, in percent, by epoch."""
    return {record["epoch"]: 100 * record["knn"] for record in run.records if "knn" in record}


def loss_curve(run: Run) -> dict[float, float]:
    """Mean loss of each epoch, by the epoch's end."""
    losses: dict[float, list[float]] = {}
    for record in run.records:
        if "loss" in record:
            losses.setdefault(float(math.ceil(record["epoch"] - 1e-6)), []).append(record["loss"])
    return {epoch: float(np.mean(values)) for epoch, values in losses.items()}


def _band(axes: Axes, curves: Sequence[Mapping[float, float]], number: int) -> None:
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not epochs:
        return
    values = np.array([[curve[epoch] for epoch in epochs] for curve in curves])
    style: dict[str, Any] = {"color": color(number), "linestyle": dashes(number), "linewidth": 1.6}
    axes.plot(epochs, values.mean(axis=0), marker="o" if len(epochs) < 25 else None, markersize=3, **style)
    if len(curves) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=color(number), alpha=0.15, linewidth=0)


def draw_dots(rows: Sequence[Row], path: Path) -> None:
    """Test accuracy: a ring for each seed, the mean with its 95 % confidence interval below them."""
    figure = new_figure(width=9.4, height=0.9 + 0.42 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (classifier, name) in zip((left, right), CLASSIFIERS.items(), strict=True):
        for i, row in enumerate(rows):
            values = list(row.percents("trained", classifier).values())
            if not values:
                continue
            axes.plot(values, np.full(len(values), i - 0.14), "o", mfc="none", mec=color(i), mew=1.4, ms=6)
            whole = estimate(values)
            low, high = whole.mean - (whole.half_width or 0), whole.mean + (whole.half_width or 0)
            axes.plot([max(0, low), min(100, high)], [i + 0.14] * 2, color=color(i), linewidth=2)
            axes.plot([whole.mean], [i + 0.14], "D", color=color(i), ms=6)
        axes.set(xlabel=f"{name} accuracy on test (%)", ylim=(len(rows) - 0.5, -0.5))
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    left.set_yticks(range(len(rows)), [row.label for row in rows])
    save(figure, path)


def draw_tsne(encoded: Mapping[str, Encoded], path: Path, *, seed: int = 0) -> None:
    """t-SNE of the same test images, a panel a row, a class in the same color in all."""
    lines = math.ceil(len(encoded) / PANELS)
    columns = math.ceil(len(encoded) / lines)
    figure = new_figure(width=2.7 * columns, height=2.8 * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(encoded) :]:
        axes.set_axis_off()
    for axes, (label, one) in zip(grid, encoded.items(), strict=False):
        places, labels = project(one.features, one.labels, seed)
        scatter_classes(axes, places, labels, one.classes)
        axes.set(xlabel="", ylabel="")
        axes.set_title(label, fontsize=10)
    classes = next(iter(encoded.values())).classes
    if len(classes) <= 2 * len(CLASSES):
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=min(len(names), 3 * columns), frameon=False,
            fontsize=9, markerscale=2, handletextpad=0.1,
        )  # fmt: skip
    save(figure, path)


def draw_neighbors(run: Run, encoded: Encoded, found: Neighbors, path: Path, *, title: str) -> None:
    """A sheet: images on the left, their nearest neighbors beside them, framed by whether the class is the same."""
    places = np.concatenate([found.queries[:, None], found.nearest], axis=1)
    lines, columns = places.shape
    shown = show_images(run.experiment, encoded.images, places.ravel())
    figure = new_figure(width=0.66 * (1 + GAP) * columns, height=0.66 * (1 + NAME) * lines + 0.4)
    axes = figure.subplots()
    for number, (image, place) in enumerate(zip(shown, places.ravel(), strict=True)):
        line, column = divmod(number, columns)
        left, top = column * (1 + GAP), line * (1 + NAME)
        axes.imshow(
            image[..., 0] if image.shape[-1] == 1 else image,
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest" if len(image) < SHARP else "antialiased",
            extent=(left, left + 1, top + 1, top),
        )
        label = encoded.labels[place]
        name, same = short(encoded.classes[label]), bool(label == encoded.labels[places[line, 0]])
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 6.5}
        if column == 0:
            axes.text(left + 0.5, top - 0.04, name, fontweight="bold", **style)
            continue
        tint = BLUE if same else ORANGE
        axes.text(left + 0.5, top - 0.04, f"{'=' if same else '≠'} {name}", color=tint, **style)
        dash: Any = "-" if same else (0, (2, 1.2))
        axes.add_patch(Rectangle((left, top), 1, 1, fill=False, linewidth=2.2, edgecolor=tint, linestyle=dash))
    axes.set(xlim=(-0.03, columns * (1 + GAP) - GAP + 0.03), ylim=(lines * (1 + NAME) - NAME + 0.03, -NAME))
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    save(figure, path)


def short(name: str) -> str:
    """A class's name, cut where it would run into the next image's."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
