"""Spectral measures of features: how many directions they use, and how fast the eigenvalues decay.

Features are float32; products are summed in float64, so that an eigenvalue is exact to about 1e-13 of the largest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-7
"""Added to each share before the entropy: "typically 1e-7 for float32" (RankMe, below its equation 1)."""
ROWS = 4096
"""Number of rows that are converted to float64 at once."""


@dataclass(frozen=True)
class PowerLaw:
    """A fit of lambda_i = c i^-alpha to sorted eigenvalues."""

    alpha: float
    r2: float
    """Share of the variance of log lambda_i that the line explains, with the weights of the fit; 1 is a power law."""
    first: int
    """Rank of the first eigenvalue of the fit; the largest has rank 1."""
    last: int


def smooth_rank(values: Tensor) -> Tensor:
    """Effective number of nonnegative values (K,): 1 if a single one is nonzero, K if all are equal.

    exp of the entropy of p_k = value_k / sum + 1e-7 (Roy and Vetterli, EUSIPCO 2007; with the epsilon as in RankMe,
    Garrido et al., ICML 2023, equation 1). The epsilon adds up to K x 1.6e-6 of the rank, 0.3 percent at K = 2048.
    """
    p = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + EPSILON
    rank: Tensor = (-(p * p.log()).sum()).exp()
    return rank


def singular_values(x: Tensor) -> Tensor:
    """The min(N, D) singular values of x (N, D), ascending, float64.

    From the eigenvalues of the smaller Gram matrix, summed in float64 a few rows at a time. Values below 3e-8 of
    the largest are rounding errors; decomposing x itself in float32 leaves 2e-7 and needs all of x at once.
    """
    tall = x if len(x) >= x.shape[1] else x.T
    squares: Tensor = torch.linalg.eigvalsh(_scatter(map(_double, torch.split(tall, ROWS))))
    return squares.clamp(min=0).sqrt()


def covariance_spectrum(features: Tensor) -> Tensor:
    """Eigenvalues of the covariance of features (N, D), descending, float64, without rounding errors.

    Values below D x 2.2e-16 of the mean squared length of the features are rounding errors, so features that collapsed
    to a point have no eigenvalues.
    """
    parts = torch.split(features, ROWS)
    mean = torch.stack([_double(part).sum(dim=0) for part in parts]).sum(dim=0) / len(features)
    squares = torch.stack([_double(part).square().sum() for part in parts]).sum() / len(features)
    covariance = _scatter(_double(part) - mean for part in parts) / len(features)
    eigenvalues: Tensor = torch.linalg.eigvalsh(covariance).flip(0)
    return eigenvalues[eigenvalues > len(mean) * torch.finfo(torch.float64).eps * squares]


def eigenspectrum_decay(features: Tensor, *, first: int = 4, last: int = 100, min_count: int = 10) -> PowerLaw | None:
    """alpha-ReQ: how fast the eigenvalues of the covariance of features (N, D) fall, lambda_i ~ i^-alpha.

    A line through (log i, log lambda_i) by least squares with weights 1 / i (Agrawal et al., NeurIPS 2022,
    "alpha-ReQ"). The paper names neither range nor weights; both are those of the authors' code, ranks 4 to 100,
    where the first few eigenvalues, which seldom follow the line, are left out. The paper finds the best
    features near alpha = 1.

    Args:
        features: (N, D).
        first: rank of the first eigenvalue of the fit, from 1.
        last: rank of the last eigenvalue of the fit, if there are as many.
        min_count: minimum number of eigenvalues for a fit.

    Returns:
        The fit; None if there are too few eigenvalues.
    """
    eigenvalues = covariance_spectrum(features)[first - 1 : last]
    if len(eigenvalues) < min_count:
        return None
    ranks = torch.arange(first, first + len(eigenvalues), dtype=torch.float64, device=eigenvalues.device)
    weight = 1 / ranks / (1 / ranks).sum()
    x, y = ranks.log(), eigenvalues.log()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    slope = (weight * x * y).sum() / (weight * x * x).sum()
    total = float((weight * y * y).sum())
    missed = float((weight * (y - slope * x) ** 2).sum())
    flat = total < 1e-12  # equal eigenvalues are a power law of alpha = 0
    return PowerLaw(-float(slope), 1.0 if flat else 1 - missed / total, first, first + len(eigenvalues) - 1)


def lidar(views: Tensor, *, delta: float = 1e-4) -> Tensor:
    """LiDAR: number of directions in which images differ more than views of one image do.

    Smooth rank of the eigenvalues of Sigma_w^-1/2 Sigma_b Sigma_w^-1/2, where Sigma_b is the covariance of the
    images' mean features and Sigma_w that of the views about their image's mean, plus delta I (Thilak et al.,
    ICLR 2024, arXiv 2312.04000v1, section 3, equations 1 to 4). The paper gives neither delta nor epsilon a
    number: delta is that of Skean et al. 2025 ("Layer by Layer"), epsilon RankMe's.

    Compare at equal q and D only: a direction without any signal still has the eigenvalue 1 / q, so features
    that are noise alone have a LiDAR near D. The paper takes q = 50 (10 at least) and n > D. Not invariant to
    the scale of features where their variance within images comes near delta.

    Args:
        views: (n, q, D), features of q augmented views of each of n images, q at least 2.
        delta: added to the diagonal of Sigma_w, in squared units of the features.

    Raises:
        ValueError: fewer than two images or views.
    """
    n, q, width = views.shape
    if n < 2 or q < 2:
        raise ValueError(f"LiDAR needs at least two images and two views per image, got {n} and {q}")
    parts = torch.split(views, max(1, ROWS // q))
    means = torch.cat([_double(part).mean(dim=1) for part in parts])
    between = _scatter([means - means.mean(dim=0)]) / n
    deviations = (_double(part) - _double(part).mean(dim=1, keepdim=True) for part in parts)
    within = _scatter(part.flatten(0, 1) for part in deviations) / (n * q)
    within += delta * torch.eye(width, dtype=within.dtype, device=within.device)
    # with within = L L^T, the eigenvalues of L^-1 between L^-T are those of the matrix above
    lower = torch.linalg.cholesky(within)
    half = torch.linalg.solve_triangular(lower, between, upper=False)
    whitened = torch.linalg.solve_triangular(lower, half.T, upper=False)
    return smooth_rank(torch.linalg.eigvalsh((whitened + whitened.T) / 2).clamp(min=0))


def _scatter(parts: Iterable[Tensor]) -> Tensor:
    """Sum of x^T x (D, D) over parts x (B, D)."""
    total: Tensor | None = None
    for part in parts:
        product = part.T @ part
        total = product if total is None else total.add_(product)
    if total is None:
        raise ValueError("no features")
    return total


def _double(x: Tensor) -> Tensor:
    """float64, on the CPU where the device has none (Apple's GPUs)."""
    return x.cpu().double() if x.device.type == "mps" else x.double()
