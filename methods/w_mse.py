"""Whitening Mean Squared Error."""

from itertools import combinations
from typing import Self

import torch
from einops import rearrange
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.redundancy import RedundancyMethod, standardize
from sslzoo.modules.heads import HeadConfig
from sslzoo.runtime.counter_rng import permutation


@METHODS.register("w-mse")
class WMSE(RedundancyMethod):
    """Match the whitened embeddings of all views of an image; whitening prevents collapse.

    Like the authors' code (htdt/self-supervised, `methods/w_mse.py`), except that `eps` shrinks correlations, not
    covariances; with eps near 0, whitening does not depend on the scale of dimensions and both agree.
    """

    paper = "Ermolov et al., ICML 2021 (arXiv 2007.06346), section 3"

    class Config(RedundancyMethod.Config):
        views: tuple[str, ...] = ("strong", "strong")
        """Augmentations of two or more views; the loss is the mean over all pairs."""
        sub_batch: PositiveInt = 128
        """Images that are whitened together; the global batch is divided into random groups of this size."""
        divisions: PositiveInt = 1
        """Number of random divisions of a batch; their losses are averaged."""
        eps: float = Field(1e-4, gt=0, lt=1)
        """Shrinkage of a group's correlation matrix towards the identity, which keeps it invertible."""
        projector: HeadConfig = HeadConfig(hidden=1024, out=64, norm="batch")
        """Head on the backbone."""

        @model_validator(mode="after")
        def _can_be_whitened(self) -> Self:
            if len(self.views) < 2:
                raise ValueError(f"views = {list(self.views)}: takes two or more")
            if self.sub_batch <= self.projector.out:
                raise ValueError(
                    f"sub_batch = {self.sub_batch}: must be above projector.out, {self.projector.out}, to be whitened "
                    f"(the paper has twice as much)"
                )
            return self

        def check_batch(self, images: int) -> None:
            super().check_batch(images)
            if images % self.sub_batch:
                raise ValueError(
                    f"method.sub_batch = {self.sub_batch}: must divide the batch of {images} images "
                    "(batch_size / accumulate)"
                )

    config: Config
    step: Tensor
    """() int64: number of batches so far, the seed of the divisions."""

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def score(self, embeddings: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean of 2 - 2 cos over images, pairs of views and divisions."""
        z = torch.stack(embeddings)
        distances = []
        for division in range(self.config.divisions):
            order = permutation(z.shape[1], self.seed, self.step, division, device=z.device)
            groups = rearrange(z[:, order], "v (g n) d -> v g n d", n=self.config.sub_batch)
            white = F.normalize(whiten(groups, self.config.eps), dim=-1)
            distances += [2 - 2 * (one * other).sum(dim=-1).mean() for one, other in combinations(white, 2)]
        return torch.stack(distances).mean(), {}

    def trivial_loss(self) -> None:
        """Return None: equal embeddings cannot be whitened."""

    def after_batch(self, output: MethodOutput) -> None:
        """Count the batch, so that the next one is divided differently."""
        self.step += 1


def whiten(embeddings: Tensor, eps: float) -> Tensor:
    """Whiten groups (..., N, D) over N by the inverse of a Cholesky factor.

    `eps` shrinks the correlation matrix rather than the covariance, so that its effect does not depend on the scale of
    a dimension. Whitening by Cholesky factors without shrinkage does not depend on that scale either.
    """
    scaled = standardize(embeddings, eps=1e-8)
    correlation = scaled.mT @ scaled / (scaled.shape[-2] - 1)
    shrunk = (1 - eps) * correlation + eps * torch.eye(correlation.shape[-1], device=correlation.device)
    factor = torch.linalg.cholesky_ex(shrunk).L
    white: Tensor = torch.linalg.solve_triangular(factor, scaled.mT, upper=False).mT
    return white
