"""Weighted nearest neighbours on features."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.inference_mode()
def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    *,
    classes: int,
    ks: Sequence[int],
    temperatures: Sequence[float],
    chunk: int = 1024,
) -> Tensor:
    """Classes that the nearest features vote for, for every k and temperature in one pass.

    A neighbour of cosine similarity s votes for its class with weight exp(s / temperature) (Wu et al., CVPR 2018,
    section 3.4, "Weighted k-nearest neighbor classifier"). Of classes with equal votes the first one wins.

    Args:
        bank: (N, D) features with `bank_labels` (N,) int64.
        queries: (Q, D) features.
        ks: numbers of neighbours, each from 1 to N.
        temperatures: positive.
        chunk: queries compared at once; memory is chunk x N floats.

    Returns:
        (len(ks), len(temperatures), Q) int64.

    Raises:
        ValueError: a k is larger than the bank.
    """
    if max(ks) > len(bank) or min(ks) < 1:
        raise ValueError(f"k from 1 to {len(bank)}, the size of the bank, not {list(ks)}")
    bank, queries = F.normalize(bank.float()), F.normalize(queries.float())
    predicted = []
    for part in torch.split(queries, chunk):
        similarities, neighbours = (part @ bank.T).topk(max(ks), dim=1)
        labels = bank_labels[neighbours]
        weights = [((similarities - similarities[:, :1]) / t).exp() for t in temperatures]  # the nearest weighs 1
        votes = [
            part.new_zeros(len(part), classes).scatter_add_(1, labels[:, :k], weight[:, :k])
            for k in ks
            for weight in weights
        ]
        predicted.append(torch.stack(votes).argmax(dim=2))
    return torch.cat(predicted, dim=1).view(len(ks), len(temperatures), len(queries))
