"""Plots are written as PNG and SVG; tables list every part."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse import coo_array

from sslzoo.evaluation.score import Score, Scores
from sslzoo.evaluation.summary import create_summary_table
from sslzoo.report.parts import create_parts_table, describe_part
from sslzoo.report.plots import create_figure, draw_confusion, draw_curves, draw_tsne, plot_curves, save_figure
from sslzoo.runtime.errors import UserError


def render(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("knn", [True, False])
def test_curves_are_written(knn: bool, tmp_path: Path) -> None:
    records = [{"epoch": e / 2, "loss": 5 - e} for e in range(1, 5)]
    records += [{"epoch": e, "knn": 0.1 + e / 4} for e in range(3)] if knn else []
    draw_curves(records, tmp_path / "curves", title="a run")
    assert all((tmp_path / f"curves.{kind}").stat().st_size > 1000 for kind in ("png", "svg"))


def test_tsne_of_few_images_and_many_classes_is_written(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(26, 4)).astype(np.float32)
    draw_tsne(features, np.arange(26) % 13, [f"class {i}" for i in range(13)], tmp_path / "tsne", title="a run", seed=0)
    text = (tmp_path / "tsne.svg").read_text()
    assert (tmp_path / "tsne.png").stat().st_size > 1000
    assert "<svg" in text


@pytest.mark.parametrize("classes", [3, 40])
def test_confusion_matrix_is_written(classes: int, tmp_path: Path) -> None:
    counts = np.eye(classes, dtype=np.int64) * 7
    counts[0] = 0  # a class without test images
    draw_confusion(counts, [f"class {i}" for i in range(classes)], tmp_path / "confusion", title="a protocol")
    text = (tmp_path / "confusion.svg").read_text()
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    assert "<svg" in text


def test_summary_table_shows_accuracies() -> None:
    rest = {"interval": (0.1, 0.9), "top5": None, "per_class": [], "confusion": coo_array((2, 2)).tocsr()}
    score = Score(accuracy=0.871, std=0.029, chosen={"k": 5}, choice_accuracy=0.9, **rest)
    exact = Score(accuracy=0.5, std=None, chosen={"lr": 0.1}, choice_accuracy=0.5, **rest)
    scores = Scores({"knn": score, "linear": exact}, labels=10, draws=20)
    text = render(create_summary_table({"trained": scores}, "Test accuracy"))
    assert "linear probe (%)" in text
    assert "87.1 ± 2.9" in text
    assert "50.0" in text


def test_tables_list_and_describe_parts() -> None:
    text = render(create_parts_table())
    for name in ("moco", "ascl", "byol", "one-hot", "adaptive-soft", "cross-entropy", "cosine", "digits", "few-shot"):
        assert name in text
    described = render(describe_part("byol"))
    assert "--method.predictor.hidden" in described
    assert "512" in described
    assert "--dataset.path" in render(describe_part("cifar10"))
    with pytest.raises(UserError, match="no part has that name; did you mean moco"):
        describe_part("mocco")


def test_name_of_a_figure_may_contain_dots(tmp_path: Path) -> None:
    save_figure(create_figure(1, 1), tmp_path / "loss.margin=0.2")
    assert {path.name for path in tmp_path.iterdir()} == {"loss.margin=0.2.png", "loss.margin=0.2.svg"}


def test_figures_are_displayed_by_notebooks_without_pyplot() -> None:
    figure = plot_curves([{"epoch": 1, "loss": 2.0}, {"epoch": 1, "knn": 0.5}], title="mine")
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (nats)", "kNN accuracy on held-out train (%)"]
