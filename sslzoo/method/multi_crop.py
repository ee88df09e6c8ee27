"""Base class of multi-crop methods, with two global views and any number of smaller local views."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from einops import rearrange
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.method.base import Method
from sslzoo.modules.heads import Encoder, HeadConfig

GLOBAL = 2
"""Number of global views. They come first; targets are computed from them, and all views predict the targets."""


class MultiCrop(Method):
    """Base class of multi-crop methods: the student encodes all views, of which the first two are global.

    Source: Caron et al., NeurIPS 2020 (arXiv 2006.09882), section 3.3.
    """

    class Config(Method.Config):
        views: tuple[str, ...] = ("strong", "strong")
        """Augmentation of each view: two global views of equal size, then any number of local views."""
        projector: HeadConfig = HeadConfig(norm="batch")
        """Head on the backbone."""

        @model_validator(mode="after")
        def _check_views(self) -> Self:
            if len(self.views) < GLOBAL:
                raise ValueError(f"views = {list(self.views)}: must be two global views, then local views")
            return self

        def require_global_views(self, sizes: Sequence[int]) -> None:
            """Check that the first two views have equal sizes, and that no other view is larger.

            Args:
                sizes: side length of each view, in pixels.

            Raises:
                ValueError: they differ, or another view is larger.
            """
            if sizes[0] != sizes[1] or max(sizes) > sizes[0]:
                raise ValueError(
                    f"method.views = {list(self.views)}: the first two views must have equal sizes, and no view may "
                    f"be larger than them; the sizes are {', '.join(map(str, sizes))} pixels"
                )

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def embed(self, views: Sequence[Tensor]) -> Tensor:
        """Compute the student's unit embeddings (V, B, out), float32; the head processes all views in one pass.

        Args:
            views: V tensors (B, C, H, W).
        """
        features = encode_views(self.student.backbone, views)
        embeddings = self.student.projector(rearrange(features, "v b d -> (v b) d"))
        return rearrange(F.normalize(embeddings.float(), dim=1), "(v b) d -> v b d", v=len(views))


def encode_views(encoder: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> Tensor:
    """Encode views of equal size in one pass, so that batch norm normalizes them together.

    The views of an image are adjacent, so that each group of split batch norm holds all views of its images, and two
    processes form the same groups as one.

    Args:
        encoder: images (N, C, H, W) to features (N, D).
        views: V tensors (B, C, H, W); sizes may differ.

    Returns:
        (V, B, D), in the order of the views.
    """
    encoded: dict[int, Tensor] = {}
    for shape in dict.fromkeys(view.shape for view in views):
        indices = [index for index, view in enumerate(views) if view.shape == shape]
        images = rearrange([views[index] for index in indices], "v b c h w -> (b v) c h w")
        encoded |= zip(indices, rearrange(encoder(images), "(b v) d -> v b d", v=len(indices)), strict=True)
    return torch.stack([encoded[index] for index in range(len(views))])


def score_swapped_predictions(targets: Tensor, logits: Tensor) -> Tensor:
    """Compute the mean cross-entropy between the prediction of each view and the target of each other global view.

    Source: Caron et al., NeurIPS 2020 (arXiv 2006.09882), section 3.3; Caron et al., ICCV 2021 (arXiv 2104.14294),
    equation 3.

    Args:
        targets: (2, B, K) distributions of the global views, without gradient; rows sum to 1.
        logits: (V, B, K) similarities of all views with the prototypes, divided by the temperature.

    Returns:
        () float32.
    """
    predictions = logits.float().log_softmax(dim=-1)
    pairs = [(target, view) for target in range(len(targets)) for view in range(len(logits)) if view != target]
    return torch.stack([-(targets[t] * predictions[v]).sum(dim=-1).mean() for t, v in pairs]).mean()
