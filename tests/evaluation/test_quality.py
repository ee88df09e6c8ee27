"""The measures of a representation: each value is that of its function, and missing ones are None."""

import json
import math

import pytest
import torch
from torch import Tensor

from sslzoo.evaluation.hypersphere import alignment, uniformity
from sslzoo.evaluation.neighborhood import neighborhood_purity, same_class_chance
from sslzoo.evaluation.quality import create_quality_rows, measure_quality
from sslzoo.evaluation.representation import effective_rank, embedding_std
from sslzoo.evaluation.spectrum import eigenspectrum_decay, lidar
from sslzoo.runtime.counter_rng import permutation


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FEATURES, LABELS, VIEWS = gaussian(60, 16), torch.arange(60) % 3, gaussian(20, 3, 16, seed=1)


def test_each_measure_is_that_of_its_function() -> None:
    quality = measure_quality(FEATURES, LABELS, VIEWS, ks=(1, 5, 60, 100))
    assert (quality.images, quality.width, quality.view_images, quality.views) == (60, 16, 20, 3)
    assert quality.embedding_std == embedding_std(FEATURES).item()
    assert quality.effective_rank == effective_rank(FEATURES).item()
    assert quality.decay == eigenspectrum_decay(FEATURES)
    assert quality.uniformity == uniformity(FEATURES).item()
    assert quality.lidar == lidar(VIEWS).item()
    assert quality.purity == dict(zip((1, 5), neighborhood_purity(FEATURES, LABELS, ks=(1, 5)).tolist(), strict=True))
    assert quality.purity_chance == same_class_chance(LABELS)
    pairs = [alignment(VIEWS[:, i], VIEWS[:, j]).item() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert quality.alignment == pytest.approx(sum(pairs) / 3, rel=1e-6)


def test_measures_without_inputs_are_none_and_have_no_row() -> None:
    quality = measure_quality(FEATURES)
    for value in (quality.purity, quality.purity_chance, quality.alignment, quality.lidar, quality.views):
        assert value is None
    names = [row.name for row in create_quality_rows(quality)]
    assert names == ["embedding std", "effective rank (RankMe)", "uniformity", "alpha (alpha-ReQ)"]
    point = measure_quality(torch.ones(10, 16))
    assert point.decay is None
    assert len(create_quality_rows(point)) == 3


def test_images_are_sampled_with_their_labels() -> None:
    features, labels = torch.eye(4)[torch.arange(500) % 4] + 0.01 * gaussian(500, 4), torch.arange(500) % 4
    quality = measure_quality(features, labels, gaussian(50, 2, 4), ks=(5,), max_images=40, seed=3)
    assert (quality.images, quality.view_images) == (40, 40)
    assert quality.purity == {5: 1.0}
    chosen = permutation(500, 3)[:40]
    assert quality.effective_rank == effective_rank(features[chosen]).item()
    assert measure_quality(features, max_images=40, seed=4).effective_rank != quality.effective_rank


def test_measures_are_json_values() -> None:
    loaded = json.loads(json.dumps(measure_quality(FEATURES, LABELS, VIEWS, ks=(5,)).as_dict()))
    assert loaded["decay"].keys() == {"alpha", "r2", "first", "last"}
    assert loaded["purity"].keys() == {"5"}
    assert all(math.isfinite(loaded[name]) for name in ("effective_rank", "uniformity", "alignment", "lidar"))


def test_table_rows() -> None:
    rows = create_quality_rows(measure_quality(FEATURES, LABELS, VIEWS, ks=(1, 5)))
    values = {name: value for name, value, _, _ in rows}
    assert list(values)[-4:] == ["alignment", "LiDAR", "purity of 1 nearest", "purity of 5 nearest"]
    assert values["effective rank (RankMe)"].endswith(" of 16")
    assert "ranks 4 to 16" in values["alpha (alpha-ReQ)"]
    assert values["LiDAR"].endswith("of 16 (20 images, 3 views)")
    assert values["purity of 5 nearest"].endswith("(chance 32.2 %)")
    assert all(row.meaning and row.source for row in rows)


def test_half_precision_is_measured_in_float32() -> None:
    half = measure_quality(FEATURES.half(), LABELS, VIEWS.half())
    assert half.effective_rank == pytest.approx(measure_quality(FEATURES).effective_rank, rel=1e-2)


@pytest.mark.parametrize(
    ("features", "labels", "views", "message"),
    [
        (torch.ones(5), None, None, r"features must be \(N, D\) with N of at least 2, not \(5,\)"),
        (torch.ones(1, 5), None, None, r"not \(1, 5\)"),
        (FEATURES, LABELS[:9], None, r"labels must be \(60,\) for 60 features, not \(9,\)"),
        (FEATURES, None, FEATURES, r"views must be \(n, q, D\) .* not \(60, 16\)"),
        (FEATURES, None, VIEWS[:, :1], r"not \(20, 1, 16\)"),
        (FEATURES / 0, None, None, "features have 960 NaN or Inf values"),
        (FEATURES, None, VIEWS * torch.nan, "views have 960 NaN or Inf values"),
    ],
)
def test_invalid_shapes_and_values_are_refused(
    features: Tensor, labels: Tensor | None, views: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure_quality(features, labels, views)
