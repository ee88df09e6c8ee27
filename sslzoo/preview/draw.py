"""Draw training images with their crops, and their views."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from sslzoo.preview.sample import Preview
from sslzoo.report.plots import CLASSES, INK, create_figure
from sslzoo.runtime.files import write_bytes

WIDEST = 15.0
"""Largest width of the figure in inches."""
MAX_TILE, MIN_TILE = 1.15, 0.66
"""Largest and smallest width of a column in inches."""
TITLE_HEIGHT = 0.75
"""Height of the titles in inches."""
SMOOTH_SIDE = 64
"""Side in pixels from which on an image is drawn with antialiasing; smaller ones have square pixels."""
DPI = 100


def draw_preview(preview: Preview, path: Path, *, title: str) -> None:
    """Draw a row for each image: the image with the crops of its views, then each view, and write it as PNG.

    A crop has the color of its view's title.
    """
    columns = 1 + len(preview.views)
    tile = min(MAX_TILE, max(MIN_TILE, WIDEST / columns))
    figure = create_figure(width=columns * tile + 0.1, height=len(preview.images) * tile + TITLE_HEIGHT)
    panels = figure.subplots(len(preview.images), columns, squeeze=False)
    width = 1.6 if len(preview.views) <= 4 else 0.9
    for row, image in enumerate(preview.images):
        _show(panels[row, 0], image / 255)
        for number, view in enumerate(preview.views):
            top, left, height, across = view.boxes[row].tolist()
            box = Rectangle((left - 0.5, top - 0.5), across, height, fill=False, linewidth=width, clip_on=False)
            box.set_edgecolor(_color(number))
            panels[row, 0].add_patch(box)
            _show(panels[row, 1 + number], view.pixels[row])
    size = 8 if tile > 0.9 else 6.5
    panels[0, 0].set_title("image", fontsize=size, color=INK)
    for number, view in enumerate(preview.views):
        panels[0, 1 + number].set_title(f"{view.name}\n{view.size} px", fontsize=size, color=_color(number))
    figure.suptitle(title, fontsize=9 if columns * tile > 4 else 7, color=INK)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)  # type: ignore[union-attr, call-arg]
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    write_bytes(path, content.getvalue())


def _show(axes: Axes, pixels: object) -> None:
    side = max(pixels.shape[:2])  # type: ignore[attr-defined]
    gray = pixels.shape[2] == 1  # type: ignore[attr-defined]
    axes.imshow(
        pixels[..., 0] if gray else pixels,  # type: ignore[index, arg-type]
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="antialiased" if side >= SMOOTH_SIDE else "nearest",
    )
    axes.set_axis_off()


def _color(number: int) -> str:
    """Color of a view, by its number."""
    return CLASSES[number % len(CLASSES)]
