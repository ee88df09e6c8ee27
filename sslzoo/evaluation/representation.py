"""Measures of collapse of a representation, without labels."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluation.spectrum import singular_values, smooth_rank


def embedding_std(embeddings: Tensor) -> Tensor:
    """Spread of L2-normalized embeddings (N, D): 0 when all are equal, about 1 when they point everywhere.

    The standard deviation of each dimension over the batch, averaged and multiplied by sqrt(D)
    (Chen and He, CVPR 2021, "Exploring Simple Siamese Representation Learning", section 4.1, whose figure 2
    shows it without the factor).
    """
    unit = F.normalize(embeddings.float(), dim=1)
    spread: Tensor = unit.std(dim=0, correction=0).mean() * unit.shape[1] ** 0.5
    return spread


def effective_rank(embeddings: Tensor) -> Tensor:
    """Number of directions that embeddings (N, D) use, from 1 to min(N, D); float64.

    RankMe (Garrido et al., ICML 2023, equation 1): the smooth rank of their singular values, neither centered nor
    normalized. The paper takes 25,600 embeddings; fewer than a few times D have a lower rank.
    """
    return smooth_rank(singular_values(embeddings))


def collapse_warning(std: float, rank: float, shape: Sequence[int]) -> str | None:
    """Describe a collapse of the embeddings in one sentence; None if there is none.

    Args:
        std: result of `embedding_std`.
        rank: result of `effective_rank`.
        shape: shape (N, D) of the embeddings; the smaller number is the maximum rank.
    """
    max_rank = min(shape)
    causes = "usual causes: learning rate too high, no momentum encoder, or views that are too weak or too strong"
    if std < 0.1:
        return f"embeddings collapse to a point (embedding std {std:.3f}, healthy is near 1); {causes}"
    if rank < max(2.0, 0.02 * max_rank):
        return f"embeddings collapse to few directions (effective rank {rank:.1f} of at most {max_rank}); {causes}"
    return None
