"""The total coding rate of a batch of embeddings."""

import torch
from torch import Tensor


def total_coding_rate(embeddings: Tensor, eps: float) -> Tensor:
    """Return R(Z) = 1/2 log det(I + D / (B eps) Z^T Z) of each batch of embeddings; larger where they spread.

    The determinant is that of the smaller of I + c Z^T Z and I + c Z Z^T (Sylvester's identity).

    Args:
        embeddings: (..., B, D) float32, rows of unit length.
        eps: squared distortion, as in the code of EMP-SSL (Tong et al. 2023, arXiv 2304.03977); formulas write eps^2.

    Returns:
        (...).
    """
    count, dim = embeddings.shape[-2:]
    gram = embeddings @ embeddings.mT if count < dim else embeddings.mT @ embeddings
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = torch.linalg.cholesky_ex(identity + dim / (count * eps) * gram).L
    rate: Tensor = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    return rate
