"""A Simple Framework for Contrastive Learning of Visual Representations."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.method.in_batch import InBatchMethod
from sslzoo.method.pair import drop_columns, find_local_rows
from sslzoo.modules.heads import HeadConfig
from sslzoo.runtime.distributed import gather_with_gradient


@METHODS.register("simclr")
class SimCLR(InBatchMethod):
    """Each view matches the other view of its image against all views of the global batch.

    With `one-hot` and `cross-entropy` the loss is NT-Xent, the mean over all 2 N anchors as in algorithm 1. The
    authors' code (google-research/simclr, `tf2/objective.py`) sums both views: `direction_reduction` = `sum`. Other
    targets, such as those of ASCL, are our extension: the encoder itself is the teacher, by the similarities of the
    other view's embedding, without gradient.
    """

    paper = "Chen et al., ICML 2020 (arXiv 2002.05709), equation 1 and algorithm 1"

    class Config(InBatchMethod.Config):
        symmetric: bool = True
        """Use both views as anchors; otherwise only view 0."""
        projector: HeadConfig = HeadConfig(norm="batch", out_norm="batch")
        """Head on the backbone."""

    config: Config

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Compute the loss of this process's images from embeddings (B, 2, out)."""
        with disable_autocast(embeddings.device):
            return self.compute_loss(F.normalize(embeddings.float(), dim=2))

    def compute_loss(self, embeddings: Tensor, relations: Tensor | None = None) -> MethodOutput:
        """Score the anchors with the other views of the global batch of N images, in float32.

        Args:
            embeddings: (B, 2, out) unit vectors.
            relations: (A, 2 N) the teacher's similarities of A anchors, ordered by view, to all views, ordered by
                image; the default is those of the keys' embeddings.
        """
        query = torch.cat([embeddings[:, query] for query, _ in self.config.pairs])
        key = torch.cat([embeddings[:, key] for _, key in self.config.pairs])
        everyone = gather_with_gradient(embeddings).flatten(0, 1)
        if relations is None:
            known = everyone.detach().T
            relations = torch.cat([embeddings[:, key].detach() @ known for _, key in self.config.pairs])
        own = 2 * find_local_rows(len(embeddings), query.device).repeat(len(self.config.pairs))
        loss, logs = self.score(
            student_positive=(query * key).sum(dim=1),
            student_candidates=drop_columns(query @ everyone.T, own, own + 1),
            teacher_positive=torch.ones_like(query[:, 0]),
            teacher_candidates=drop_columns(relations, own, own + 1),
        )
        return MethodOutput(self.reduce_directions(loss, len(self.config.pairs)), logs, query.detach())
