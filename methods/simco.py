"""SimCo: contrast within the batch, without momentum encoder and queue."""

from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.in_batch import InBatchMethod


@METHODS.register("simco")
class SimCo(InBatchMethod):
    """Each view matches the other view of its image against the other view of all images in the global batch.

    Unlike in SimCLR, the candidates of an anchor are views of one kind only. Anchors and candidates have gradient,
    and a symmetric loss is the mean of both directions, as in the authors' code (ChaoningZhang/Dual-temperature,
    `solo/methods/simco_dual_temperature.py`).
    """

    paper = "Zhang et al., CVPR 2022 (arXiv 2203.17248), section 5"
    default_loss = "dual-temperature"

    class Config(InBatchMethod.Config):
        symmetric: bool = True
        """Use each view as anchor; otherwise only view 0."""

    config: Config

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Score view 0 with view 1 and, if symmetric, the reverse."""
        return self.combine_directions(
            [self.compute_loss(embeddings[:, q], embeddings[:, k]) for q, k in self.config.pairs]
        )

    def compute_loss(self, query: Tensor, key: Tensor) -> MethodOutput:
        """Score queries (B, out) with their keys (B, out); candidates are the other keys of the global batch."""
        loss, logs = self.score_in_batch(query, key)
        return MethodOutput(loss, logs, F.normalize(query.detach().float()))
