"""Spectral measures on features with known eigenvalues, and against direct implementations in float64 numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from torch import Tensor

from sslzoo.evaluation.representation import effective_rank
from sslzoo.evaluation.spectrum import covariance_spectrum, eigenspectrum_decay, lidar, singular_values, smooth_rank


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(width: int, seed: int) -> Tensor:
    return torch.linalg.qr(gaussian(width, width, seed=seed).double()).Q.float()


def with_spectrum(eigenvalues: Tensor, n: int, seed: int = 0) -> Tensor:
    """Features (n, D) whose covariance has exactly these eigenvalues (D,), in rotated directions, with a mean."""
    white = gaussian(n, len(eigenvalues), seed=seed).double()
    white = torch.linalg.qr(white - white.mean(dim=0)).Q * n**0.5
    turned = (white * eigenvalues.double().sqrt()) @ rotation(len(eigenvalues), seed + 1).double().T
    return (turned + 0.3).float()


def smooth_rank_in_numpy(values: NDArray[np.float64]) -> float:
    p = values / values.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def lidar_in_loops(views: Tensor, delta: float) -> float:
    """Compute LiDAR in loops, with the symmetric inverse root of the paper instead of a Cholesky factor."""
    x = views.double().numpy()
    n, q, width = x.shape
    means = x.mean(axis=1)
    between, within = np.zeros((width, width)), delta * np.eye(width)
    for i in range(n):
        d = means[i] - means.mean(axis=0)
        between += np.outer(d, d) / n
        for j in range(q):
            d = x[i, j] - means[i]
            within += np.outer(d, d) / (n * q)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return smooth_rank_in_numpy(np.linalg.eigvalsh(root @ between @ root).clip(min=0))


# rank


def test_smooth_rank_matches_calculation_by_hand() -> None:
    # shares 1/2, 1/4, 1/4: entropy is 1.5 log 2
    assert smooth_rank(torch.tensor([2.0, 1.0, 1.0]).double()).item() == pytest.approx(2**1.5, rel=1e-6)


def test_isotropic_features_have_full_rank() -> None:
    features = torch.cat([torch.eye(16), -torch.eye(16)]) * 3
    assert effective_rank(features).item() == pytest.approx(16, rel=1e-4)


@pytest.mark.parametrize("shape", [(9001, 5), (30, 12), (12, 30)])
def test_singular_values_of_tall_and_wide_features(shape: tuple[int, int]) -> None:
    x = gaussian(*shape) + 1
    expected = np.sort(np.linalg.svd(x.double().numpy(), compute_uv=False))
    np.testing.assert_allclose(singular_values(x).numpy(), expected, rtol=1e-10)


def test_effective_rank_equals_rankme_with_its_epsilon() -> None:
    x = gaussian(500, 2) @ gaussian(2, 300, seed=1)
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    ours = effective_rank(x).item()
    assert ours == pytest.approx(smooth_rank_in_numpy(singular), rel=1e-5)
    p = singular[:2] / singular[:2].sum()
    assert ours / np.exp(-(p * np.log(p)).sum()) - 1 == pytest.approx(298 * 1e-7 * np.log(1e7), rel=0.1)


# decay


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.7])
def test_fit_recovers_an_exact_power_law(alpha: float) -> None:
    fit = eigenspectrum_decay(with_spectrum(torch.arange(1, 121.0) ** -alpha, n=300))
    assert fit is not None
    assert fit.alpha == pytest.approx(alpha, abs=1e-3)
    assert fit.r2 == pytest.approx(1, abs=1e-6)
    assert (fit.first, fit.last) == (4, 100)


def test_fit_uses_only_ranks_4_to_100() -> None:
    eigenvalues = torch.arange(1, 121.0) ** -1.0
    eigenvalues[:3] *= 50
    eigenvalues[100:] *= 0.01
    fit = eigenspectrum_decay(with_spectrum(eigenvalues, n=300))
    assert fit is not None
    assert fit.alpha == pytest.approx(1, abs=1e-3)
    wider = eigenspectrum_decay(with_spectrum(eigenvalues, n=300), first=1, last=120)
    assert wider is not None
    assert wider.alpha > 1.3
    assert wider.r2 < 0.99


def test_fit_equals_weighted_numpy_polyfit() -> None:
    features = gaussian(400, 60)
    fit = eigenspectrum_decay(features)
    assert fit is not None
    assert (fit.first, fit.last) == (4, 60)
    x = features.double().numpy()
    log_values = np.log(np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1][3:])
    log_ranks = np.log(np.arange(4, 61))
    weights = 1 / np.arange(4, 61)
    slope, intercept = np.polyfit(log_ranks, log_values, 1, w=np.sqrt(weights))
    assert fit.alpha == pytest.approx(-slope, rel=1e-6)
    assert fit.r2 == pytest.approx(r2_score(log_values, slope * log_ranks + intercept, sample_weight=weights), rel=1e-6)
    assert fit.r2 < 0.95


def test_equal_eigenvalues_have_alpha_zero() -> None:
    fit = eigenspectrum_decay(with_spectrum(torch.ones(40), n=100))
    assert fit is not None
    assert (fit.alpha, fit.r2) == (pytest.approx(0, abs=1e-5), 1.0)


def test_rounding_errors_are_not_eigenvalues() -> None:
    flat = with_spectrum(torch.ones(20), n=100) @ gaussian(20, 50, seed=3)
    spectrum = covariance_spectrum(flat.double())
    assert len(spectrum) == 20
    assert torch.equal(spectrum, spectrum.sort(descending=True).values)
    one_point = torch.full((100, 50), 0.7) * (1 + 1e-7 * gaussian(100, 50))
    assert eigenspectrum_decay(one_point) is None


def test_too_few_eigenvalues_have_no_fit() -> None:
    assert eigenspectrum_decay(gaussian(100, 12)) is None
    assert eigenspectrum_decay(gaussian(100, 13)) is not None


# LiDAR


def test_lidar_of_identical_views_is_the_rank_of_the_image_means() -> None:
    few = torch.eye(6, 20)[:, None].repeat(1, 3, 1)  # 6 images at the corners of a simplex: 5 equal directions
    assert lidar(few).item() == pytest.approx(5, rel=1e-4)
    many = torch.cat([torch.eye(7), -torch.eye(7)])[:, None].repeat(1, 3, 1)
    assert lidar(many).item() == pytest.approx(7, rel=1e-4)


@pytest.mark.parametrize("shape", [(40, 5, 8), (6, 4, 12)])
@pytest.mark.parametrize("delta", [1e-4, 0.5])
def test_lidar_agrees_with_loops(shape: tuple[int, int, int], delta: float) -> None:
    views = gaussian(shape[0], 1, shape[2], seed=1) + 0.5 * gaussian(*shape) * torch.arange(1.0, 1 + shape[2])
    assert lidar(views, delta=delta).item() == pytest.approx(lidar_in_loops(views, delta), rel=1e-6)


def test_lidar_does_not_depend_on_chunks() -> None:
    views = gaussian(1500, 7, 4)  # more than the rows that are taken at once
    assert lidar(views).item() == pytest.approx(lidar_in_loops(views, 1e-4), rel=1e-6)


def test_lidar_ignores_directions_that_separate_views() -> None:
    """3 directions tell images apart, 20 vary as much but with the view: RankMe counts 23, LiDAR 3."""
    images, noise = gaussian(400, 1, 3, seed=1).expand(400, 10, 3), gaussian(400, 10, 20)
    views = torch.cat([images + 0.03 * gaussian(400, 10, 3, seed=2), noise], dim=2)
    assert lidar(views).item() == pytest.approx(3, abs=0.2)
    assert effective_rank(views.flatten(0, 1)).item() > 20


def test_lidar_of_noise_is_near_full_rank() -> None:
    """The measure's blind spot that its documentation tells of: every direction has the eigenvalue 1 / q."""
    assert lidar(gaussian(2000, 10, 12)).item() == pytest.approx(12, rel=0.02)


def test_lidar_of_one_image_or_view_is_an_error() -> None:
    for shape in ((1, 4, 3), (4, 1, 3)):
        with pytest.raises(ValueError, match=f"got {shape[0]} and {shape[1]}"):
            lidar(gaussian(*shape))


# invariances

FEATURES = with_spectrum(torch.arange(1, 25.0) ** -1.2, n=80)
VIEWS = gaussian(30, 1, 6, seed=5) + 0.4 * gaussian(30, 4, 6, seed=6)


def measures(features: Tensor, views: Tensor, delta: float) -> list[float]:
    fit = eigenspectrum_decay(features)
    assert fit is not None
    return [effective_rank(features).item(), fit.alpha, fit.r2, lidar(views, delta=delta).item()]


@given(seed=st.integers(0, 10_000))
def test_measures_are_invariant_to_rotation_and_order(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = FEATURES[torch.randperm(80, generator=generator)] @ rotation(24, seed)
    views = VIEWS[torch.randperm(30, generator=generator)][:, torch.randperm(4, generator=generator)]
    turned = measures(features, views @ rotation(6, seed), 1e-4)
    assert turned == pytest.approx(measures(FEATURES, VIEWS, 1e-4), rel=1e-4)


@given(scale=st.floats(1e-3, 1e3))
def test_measures_are_invariant_to_scale_except_for_delta(scale: float) -> None:
    scaled = measures(FEATURES * scale, VIEWS * scale, 0.01 * scale**2)
    assert scaled == pytest.approx(measures(FEATURES, VIEWS, 0.01), rel=1e-4)


@given(shift=st.floats(-10, 10))
def test_decay_and_lidar_are_invariant_to_the_mean(shift: float) -> None:
    assert measures(FEATURES + shift, VIEWS + shift, 1e-4)[1:] == pytest.approx(
        measures(FEATURES, VIEWS, 1e-4)[1:], rel=1e-3
    )
