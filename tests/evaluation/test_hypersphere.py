"""Alignment and uniformity against values calculated by hand and the authors' formulas in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluation.hypersphere import alignment, uniformity


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_alignment_matches_calculation_by_hand() -> None:
    x = gaussian(20, 6)
    assert alignment(x, 3 * x).item() == pytest.approx(0, abs=1e-10)
    assert alignment(x, -0.5 * x).item() == pytest.approx(4, rel=1e-6)
    right_angle = alignment(torch.eye(4), torch.eye(4).roll(1, 0))
    assert right_angle.item() == pytest.approx(2, rel=1e-6)
    assert alignment(torch.eye(4), torch.eye(4).roll(1, 0), alpha=1).item() == pytest.approx(2**0.5, rel=1e-6)


def test_alignment_is_the_mean_over_pairs() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    y = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    assert alignment(x, y).item() == pytest.approx((0 + 4) / 2)


def test_uniformity_matches_calculation_by_hand() -> None:
    opposite = torch.tensor([[0.0, 2.0], [0.0, -5.0]])
    assert uniformity(opposite).item() == pytest.approx(-8, rel=1e-6)
    assert uniformity(opposite, t=1).item() == pytest.approx(-4, rel=1e-6)
    # two equal points and one at a right angle: pairs at squared distances 0, 2, 2
    three = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert uniformity(three).item() == pytest.approx(math.log((1 + 2 * math.exp(-4)) / 3), rel=1e-6)
    assert uniformity(torch.ones(9, 4)).item() == pytest.approx(0, abs=1e-5)


def test_uniformity_agrees_with_the_authors_formula() -> None:
    x = gaussian(60, 8) + 0.5
    expected = torch.pdist(F.normalize(x.double())).pow(2).mul(-2).exp().mean().log().item()
    assert uniformity(x).item() == pytest.approx(expected, rel=1e-6)


def test_uniformity_of_evenly_spread_features_is_about_minus_four() -> None:
    assert uniformity(gaussian(1000, 512)).item() == pytest.approx(-4, abs=0.05)


@given(chunk=st.integers(1, 70), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_measures_are_invariant_to_chunks_scale_order_and_rotation(chunk: int, scale: float, seed: int) -> None:
    x, y = gaussian(50, 5) + 0.5, gaussian(50, 5, seed=1) + 0.5
    rotation = scale * torch.linalg.qr(gaussian(5, 5, seed=seed)).Q
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    assert uniformity(x[order] @ rotation, chunk=chunk).item() == pytest.approx(uniformity(x).item(), rel=1e-4)
    assert alignment(x[order] @ rotation, y[order] @ rotation).item() == pytest.approx(alignment(x, y).item(), rel=1e-4)


def test_uniformity_of_one_feature_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least two features, got 1"):
        uniformity(torch.ones(1, 3))
