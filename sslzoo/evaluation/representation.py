"""Measures of collapse of a representation, without labels."""

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


def measure_separation(one: Tensor, other: Tensor) -> Tensor:
    """Measure how much more similar two views of an image are than views of two images.

    The difference between the mean cosine similarities of the same image and of all pairs of images, divided by the
    standard deviation of the latter: about 0 if the encoder recognizes no image, and above 1 once it does.

    Args:
        one: (N, D), at least 2 embeddings.
        other: (N, D), embeddings of another view of each image.
    """
    one, other = F.normalize(one.float(), dim=1), F.normalize(other.float(), dim=1)
    similarities = one @ other.T
    separation: Tensor = (similarities.diagonal().mean() - similarities.mean()) / similarities.std().clamp(min=1e-9)
    return separation
