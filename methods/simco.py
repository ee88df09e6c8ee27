"""SimCo: contrast within the batch, without momentum encoder and queue."""

from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.in_batch import InBatchMethod


@METHODS.register("simco")
class SimCo(InBatchMethod):
    """Each view finds the other one of its image among the same views of the global batch's other images.

    Gradient goes through anchors and candidates, as in the authors' code. Unlike SimCLR, an anchor does not meet the
    its own views.
    """

    paper = "Zhang et al., CVPR 2022 (arXiv 2203.17248), section 5"
    default_loss = "dual-temperature"

    class Config(InBatchMethod.Config):
        symmetric: bool = True
        """Let each view be anchor in turn, and average both losses."""

    config: Config

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """View 0 against view 1; when symmetric, the other way round as well."""
        return MethodOutput.mean([self.compute_loss(embeddings[:, q], embeddings[:, k]) for q, k in self.config.pairs])

    def compute_loss(self, query: Tensor, key: Tensor) -> MethodOutput:
        """Queries (B, out) against their keys (B, out), the global batch's other keys as candidates."""
        loss, logs = self.score_in_batch(query, key)
        return MethodOutput(loss, logs, F.normalize(query.detach().float()))
