"""Alignment and uniformity of features on the unit sphere.

Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
Hypersphere", ICML 2020 (arXiv 2005.10242), section 4.1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment(x: Tensor, y: Tensor, *, alpha: float = 2.0) -> Tensor:
    """Mean of |x_i - y_i|^alpha over positive pairs: 0 when equal; with alpha 2, 2 at right angles, 4 when opposite.

    Args:
        x: (N, D), normalized to unit length here.
        y: (N, D), the other view of each.
    """
    distances = (F.normalize(x.float()) - F.normalize(y.float())).norm(dim=1)
    mean: Tensor = distances.pow(alpha).mean()
    return mean


def uniformity(x: Tensor, *, t: float = 2.0, chunk: int = 1024) -> Tensor:
    """Log of the mean of exp(-t |x_i - x_j|^2) over pairs i < j, float64; lower is more even.

    With t 2: 0 when all are one point, about -4 when they are spread evenly in many dimensions, -8 for two
    opposite points, the minimum.

    Args:
        x: (N, D), normalized to unit length here.
        chunk: number of rows compared at once; memory is a few times chunk x N floats.

    Raises:
        ValueError: fewer than two features.
    """
    n = len(x)
    if n < 2:
        raise ValueError(f"uniformity needs at least two features, got {n}")
    unit = F.normalize(x.float())
    sums = []
    for first in range(0, n, chunk):
        cosines = unit[first : first + chunk] @ unit[first:].T
        potentials = (2 * t * (cosines - 1)).exp()  # |x - y|^2 = 2 - 2 cos
        sums.append(potentials.triu(diagonal=1).sum(dim=1).cpu())
    mean: Tensor = torch.cat(sums).double().sum() / (n * (n - 1) / 2)
    return mean.log()
