"""Mixtures of embeddings and their neighbors."""

import torch
from torch import Tensor


def mix_with_neighbors(embeddings: Tensor, neighbors: Tensor, share: float | Tensor) -> Tensor:
    """Return share * neighbor + (1 - share) * embedding for each neighbor (Long et al. 2023, arXiv 2311.00562).

    Args:
        embeddings: (B, D).
        neighbors: (B, K, D) of each embedding.
        share: of the neighbor, in [0, 1]; a number or a scalar tensor.

    Returns:
        (B, K, D), not normalized.
    """
    return torch.lerp(embeddings[:, None], neighbors, share)
