"""Pictures are written as bitmap and vector; tables show every part."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sslzoo.errors import UserError
from sslzoo.evaluate.protocol import Score, Scores
from sslzoo.report.parts import describe_part, parts_table
from sslzoo.report.plots import curves, tsne
from sslzoo.report.summary import summary_table


def shown(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("knn", [True, False])
def test_curves(knn: bool, tmp_path: Path) -> None:
    records = [{"epoch": e / 2, "loss": 5 - e} for e in range(1, 5)]
    records += [{"epoch": e, "knn": 0.1 + e / 4} for e in range(3)] if knn else []
    curves(records, tmp_path / "curves", title="a run")
    assert all((tmp_path / f"curves.{kind}").stat().st_size > 1000 for kind in ("png", "svg"))


def test_tsne_with_few_pictures_and_many_classes(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(26, 4)).astype(np.float32)
    tsne(features, np.arange(26) % 13, [f"class {i}" for i in range(13)], tmp_path / "tsne", title="a run", seed=0)
    text = (tmp_path / "tsne.svg").read_text()
    assert (tmp_path / "tsne.png").stat().st_size > 1000
    assert "<svg" in text


def test_summary_table() -> None:
    score = Score(0.871, 0.029, {"k": 5}, 0.9)
    exact = Score(0.5, None, {"lr": 0.1}, 0.5)
    text = shown(summary_table({"trained": Scores(score, exact, labels=10, draws=20)}, "Test accuracy"))
    assert "87.1 ± 2.9" in text
    assert "50.0" in text


def test_parts() -> None:
    text = shown(parts_table())
    for name in ("moco", "ascl", "byol", "one-hot", "adaptive-soft", "cross-entropy", "cosine", "digits", "folder"):
        assert name in text
    described = shown(describe_part("byol"))
    assert "--method.predictor.hidden" in described
    assert "512" in described
    assert "--dataset.path" in shown(describe_part("cifar10"))
    with pytest.raises(UserError, match="no part has that name; did you mean moco"):
        describe_part("mocco")
