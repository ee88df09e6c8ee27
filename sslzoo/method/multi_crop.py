"""Methods that take views of several sizes: two global ones, and any number of small local crops."""

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
"""Views that targets are made from; they come first, and all views predict the targets."""


class MultiCrop(Method):
    """A method whose student encodes all views, of which the first two are global (Caron et al., NeurIPS 2020, 3.3)."""

    class Config(Method.Config):
        views: tuple[str, ...] = ("strong", "strong")
        """Augmentation of each input: two global ones of one size, then any number of local ones."""
        projector: HeadConfig = HeadConfig(norm="batch")
        """Head on the backbone."""

        @model_validator(mode="after")
        def _two_global_views(self) -> Self:
            if len(self.views) < GLOBAL:
                raise ValueError(f"views = {list(self.views)}: takes two global views, then any number of local ones")
            return self

        def require_global_views(self, sizes: Sequence[int]) -> None:
            """Check the sides of the views.

            Raises:
                ValueError: the first two views are not of one size, or another is larger.
            """
            if sizes[0] != sizes[1] or max(sizes) > sizes[0]:
                raise ValueError(
                    f"method.views = {list(self.views)}: the two global views come first, of one size that no other "
                    f"exceeds; these have {', '.join(map(str, sizes))} pixels"
                )

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def embed(self, views: Sequence[Tensor]) -> Tensor:
        """(V, B, out) float32, the student's unit embeddings of all views; its head sees them together."""
        features = encode(self.student.backbone, views)
        embeddings = self.student.projector(rearrange(features, "v b d -> (v b) d"))
        return rearrange(F.normalize(embeddings.float(), dim=1), "(v b) d -> v b d", v=len(views))


def encode(encoder: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> Tensor:
    """Encode views of equal size in one pass, so that batch norm sees them together.

    The views of an image are adjacent, so that groups of batch norm hold whole images, and two processes form the
    same groups as one.

    Args:
        views: (B, C, H, W) each, sizes differ.

    Returns:
        (V, B, D), in the order of the views.
    """
    encoded: dict[int, Tensor] = {}
    for size in dict.fromkeys(view.shape for view in views):
        same = [number for number, view in enumerate(views) if view.shape == size]
        images = rearrange([views[number] for number in same], "v b c h w -> (b v) c h w")
        encoded |= zip(same, rearrange(encoder(images), "(b v) d -> v b d", v=len(same)), strict=True)
    return torch.stack([encoded[number] for number in range(len(views))])


def swapped_prediction(targets: Tensor, logits: Tensor) -> Tensor:
    """Mean cross-entropy of each view's prediction and the target of each global view but itself.

    Source: Caron et al., NeurIPS 2020, section 3.3; Caron et al., ICCV 2021, equation 3.

    Args:
        targets: (2, B, K), rows sum to 1, without gradient.
        logits: (V, B, K), scores by temperature.

    Returns:
        () float32.
    """
    predictions = logits.float().log_softmax(dim=-1)
    pairs = [(target, view) for target in range(len(targets)) for view in range(len(logits)) if view != target]
    return torch.stack([-(targets[t] * predictions[v]).sum(dim=-1).mean() for t, v in pairs]).mean()
