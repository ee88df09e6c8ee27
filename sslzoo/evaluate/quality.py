"""Measures of the quality of features that need no training."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslzoo.evaluate.hypersphere import alignment, uniformity
from sslzoo.evaluate.neighborhood import neighborhood_purity, same_class_chance
from sslzoo.evaluate.representation import effective_rank, embedding_std
from sslzoo.evaluate.spectrum import PowerLaw, eigenspectrum_decay, lidar
from sslzoo.runtime.counter_rng import permutation


@dataclass(frozen=True)
class Quality:
    """Measures of a representation; None where what a measure needs was not given."""

    images: int
    """Images that were measured."""
    width: int
    """D, the dimensions of a feature."""
    embedding_std: float
    effective_rank: float
    """RankMe."""
    decay: PowerLaw | None
    """alpha-ReQ; None where too few eigenvalues are more than rounding."""
    uniformity: float
    purity: dict[int, float] | None
    """Share of the k nearest that have the image's class, by k."""
    purity_chance: float | None
    """The same of neighbors drawn at random."""
    view_images: int | None
    """Images whose views were measured."""
    views: int | None
    """q, views of each of them."""
    alignment: float | None
    """Mean over all pairs of views."""
    lidar: float | None

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


class QualityRow(NamedTuple):
    """A line of a table."""

    name: str
    value: str
    meaning: str
    source: str


@torch.no_grad()
def measure(
    features: Tensor,
    labels: Tensor | None = None,
    views: Tensor | None = None,
    *,
    ks: Sequence[int] = (1, 10, 100),
    most: int = 25_600,
    seed: int = 0,
) -> Quality:
    """Every measure that what is given allows.

    Args:
        features: (N, D) of un-augmented images.
        labels: (N,) int64 of the same images.
        views: (n, q, D) features of q augmented views of n images, which need not be those of `features`.
        ks: numbers of neighbors of the purity; those larger than N - 1 are left out.
        most: of more images than this as many are drawn; 25,600 as RankMe has it (Garrido et al., ICML 2023).
        seed: of the draw.

    Raises:
        ValueError: shapes do not fit, there are too few images or views, or a feature is NaN or Inf.
    """
    _check(features, labels, views)
    chosen = _draw(len(features), most, seed, features.device)
    features = features[chosen].float()
    labels = None if labels is None else labels[chosen.to(labels.device)].to(features.device)
    if views is not None:
        views = views[_draw(len(views), most, seed, views.device)].float()
    return Quality(
        images=len(features),
        width=features.shape[1],
        embedding_std=float(embedding_std(features)),
        effective_rank=float(effective_rank(features)),
        decay=eigenspectrum_decay(features),
        uniformity=float(uniformity(features)),
        purity=None if labels is None else _purity(features, labels, ks),
        purity_chance=None if labels is None else same_class_chance(labels),
        view_images=None if views is None else len(views),
        views=None if views is None else views.shape[1],
        alignment=None if views is None else _alignment(views),
        lidar=None if views is None else float(lidar(views)),
    )


def quality_rows(quality: Quality) -> list[QualityRow]:
    """A line for each measure that there is: name, value, what it means, source."""
    q = quality
    most = min(q.images, q.width)
    rows = [
        QualityRow(
            "embedding std",
            f"{q.embedding_std:.3f}",
            "spread of unit features: 0 is one point, about 1 is every direction",
            "Chen and He, CVPR 2021, section 4.1",
        ),
        QualityRow(
            "effective rank (RankMe)",
            f"{q.effective_rank:.1f} of {most}",
            "directions that features use; few is collapse, many alone is no merit",
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
                "decay of the covariance's eigenvalues, i^-alpha: best near 1; means little where R² is low",
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
                "share of an image's nearest that have its class, by cosine",
                "ours",
            )
        )
    return rows


def _purity(features: Tensor, labels: Tensor, ks: Sequence[int]) -> dict[int, float]:
    possible = [k for k in ks if k < len(features)]
    shares = neighborhood_purity(features, labels, ks=possible).tolist() if possible else []
    return dict(zip(possible, shares, strict=True))


def _alignment(views: Tensor) -> float:
    pairs = [alignment(views[:, i], views[:, j]) for i, j in combinations(range(views.shape[1]), 2)]
    return float(torch.stack(pairs).mean())


def _draw(n: int, most: int, seed: int, device: torch.device) -> Tensor:
    """Positions of all n images, or of `most` drawn ones."""
    if n <= most:
        return torch.arange(n, device=device)
    return permutation(n, seed, device=device)[:most]


def _check(features: Tensor, labels: Tensor | None, views: Tensor | None) -> None:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features (N, D) of two images at least, not {tuple(features.shape)}")
    if labels is not None and labels.shape != features.shape[:1]:
        raise ValueError(f"{len(features)} features need labels ({len(features)},), not {tuple(labels.shape)}")
    if views is not None and (views.ndim != 3 or views.shape[0] < 2 or views.shape[1] < 2):
        raise ValueError(f"views (n, q, D) of two images, two of each, at least, not {tuple(views.shape)}")
    for name, given in (("features", features), ("views", views)):
        if given is not None and not bool(given.isfinite().all()):
            raise ValueError(f"{name} have {int((~given.isfinite()).sum())} NaN or Inf values")
