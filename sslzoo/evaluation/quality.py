"""Measures of the quality of features, without training a classifier."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslzoo.evaluation.hypersphere import alignment, uniformity
from sslzoo.evaluation.neighborhood import neighborhood_purity, same_class_chance
from sslzoo.evaluation.representation import effective_rank, embedding_std
from sslzoo.evaluation.spectrum import PowerLaw, eigenspectrum_decay, lidar
from sslzoo.runtime.counter_rng import permutation


@dataclass(frozen=True)
class Quality:
    """Measures of a representation; None for measures whose inputs were not given."""

    images: int
    """Number of measured images."""
    width: int
    """Dimension D of the features."""
    embedding_std: float
    effective_rank: float
    """RankMe."""
    decay: PowerLaw | None
    """alpha-ReQ; None if too few eigenvalues exceed rounding errors."""
    uniformity: float
    purity: dict[int, float] | None
    """Share of the k nearest images that have the same class, by k."""
    purity_chance: float | None
    """Expected purity of random neighbors."""
    view_images: int | None
    """Number n of images whose views were measured."""
    views: int | None
    """Number q of views per image."""
    alignment: float | None
    """Mean over all pairs of views."""
    lidar: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the measures as JSON values."""
        return asdict(self)


class QualityRow(NamedTuple):
    """A row of the table of measures."""

    name: str
    value: str
    meaning: str
    source: str


@torch.no_grad()
def measure_quality(
    features: Tensor,
    labels: Tensor | None = None,
    views: Tensor | None = None,
    *,
    ks: Sequence[int] = (1, 10, 100),
    max_images: int = 25_600,
    seed: int = 0,
) -> Quality:
    """Compute all measures for which the inputs are given.

    Args:
        features: (N, D) of images without augmentation.
        labels: (N,) int64 of the same images.
        views: (n, q, D) features of q augmented views of n images, which need not be those of `features`.
        ks: numbers of neighbors for the purity; those larger than N - 1 are skipped.
        max_images: maximum number of images, sampled at random if there are more. RankMe uses 25,600 (Garrido et al.,
            ICML 2023).
        seed: seed of the sample.

    Raises:
        ValueError: shapes do not match, there are too few images or views, or a feature is NaN or Inf.
    """
    _check_inputs(features, labels, views)
    chosen = _sample_indices(len(features), max_images, seed, features.device)
    features = features[chosen].float()
    labels = None if labels is None else labels[chosen.to(labels.device)].to(features.device)
    if views is not None:
        views = views[_sample_indices(len(views), max_images, seed, views.device)].float()
    return Quality(
        images=len(features),
        width=features.shape[1],
        embedding_std=float(embedding_std(features)),
        effective_rank=float(effective_rank(features)),
        decay=eigenspectrum_decay(features),
        uniformity=float(uniformity(features)),
        purity=None if labels is None else _measure_purity(features, labels, ks),
        purity_chance=None if labels is None else same_class_chance(labels),
        view_images=None if views is None else len(views),
        views=None if views is None else views.shape[1],
        alignment=None if views is None else _measure_alignment(views),
        lidar=None if views is None else float(lidar(views)),
    )


def create_quality_rows(quality: Quality) -> list[QualityRow]:
    """Create a table row for each available measure: name, value, meaning, source."""
    q = quality
    max_rank = min(q.images, q.width)
    rows = [
        QualityRow(
            "embedding std",
            f"{q.embedding_std:.3f}",
            "spread of unit features: 0 is one point, about 1 is every direction",
            "Chen and He, CVPR 2021, section 4.1",
        ),
        QualityRow(
            "effective rank (RankMe)",
            f"{q.effective_rank:.1f} of {max_rank}",
            "directions that features use; few mean collapse, many do not imply quality",
            "Garrido et al., ICML 2023, equation 1",
        ),
        QualityRow(
            "uniformity",
            f"{q.uniformity:.3f}",
            "0 is one point, about -4 is spread evenly over the sphere",
            "Wang and Isola, ICML 2020, section 4.1",
        ),
    ]
    if q.decay is not None:
        rows.append(
            QualityRow(
                "alpha (alpha-ReQ)",
                f"{q.decay.alpha:.2f} (R² {q.decay.r2:.3f}, ranks {q.decay.first} to {q.decay.last})",
                "decay of the covariance's eigenvalues, i^-alpha: best near 1; unreliable if R² is low",
                "Agrawal et al., NeurIPS 2022; ranks and weights of the authors' code",
            )
        )
    if q.alignment is not None:
        rows.append(
            QualityRow(
                "alignment",
                f"{q.alignment:.3f} ({q.view_images} images, {q.views} views)",
                "squared distance of two views of an image: 0 is invariant, 2 is unrelated",
                "Wang and Isola, ICML 2020, section 4.1",
            )
        )
    if q.lidar is not None:
        rows.append(
            QualityRow(
                "LiDAR",
                f"{q.lidar:.1f} of {q.width} ({q.view_images} images, {q.views} views)",
                "directions that separate images independent of the view; compare at equal views and width",
                "Thilak et al., ICLR 2024, section 3",
            )
        )
    for k, share in (q.purity or {}).items():
        rows.append(
            QualityRow(
                f"purity of {k} nearest",
                f"{100 * share:.1f} % (chance {100 * (q.purity_chance or 0):.1f} %)",
                "share of the nearest images, by cosine, that have the same class",
                "ours",
            )
        )
    return rows


def _measure_purity(features: Tensor, labels: Tensor, ks: Sequence[int]) -> dict[int, float]:
    valid = [k for k in ks if k < len(features)]
    shares = neighborhood_purity(features, labels, ks=valid).tolist() if valid else []
    return dict(zip(valid, shares, strict=True))


def _measure_alignment(views: Tensor) -> float:
    pairs = [alignment(views[:, i], views[:, j]) for i, j in combinations(range(views.shape[1]), 2)]
    return float(torch.stack(pairs).mean())


def _sample_indices(n: int, max_images: int, seed: int, device: torch.device) -> Tensor:
    """Indices of all n images, or of a random sample of `max_images`."""
    if n <= max_images:
        return torch.arange(n, device=device)
    return permutation(n, seed, device=device)[:max_images]


def _check_inputs(features: Tensor, labels: Tensor | None, views: Tensor | None) -> None:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (N, D) with N of at least 2, not {tuple(features.shape)}")
    if labels is not None and labels.shape != features.shape[:1]:
        raise ValueError(f"labels must be ({len(features)},) for {len(features)} features, not {tuple(labels.shape)}")
    if views is not None and (views.ndim != 3 or views.shape[0] < 2 or views.shape[1] < 2):
        raise ValueError(f"views must be (n, q, D) with n and q of at least 2, not {tuple(views.shape)}")
    for name, given in (("features", features), ("views", views)):
        if given is not None and not bool(given.isfinite().all()):
            raise ValueError(f"{name} have {int((~given.isfinite()).sum())} NaN or Inf values")
