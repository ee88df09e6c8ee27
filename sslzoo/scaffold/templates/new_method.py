"""A custom method: encodes the views and compares their embeddings."""

from sslzoo import METHODS, Encoder, HeadConfig, Loss, MethodOutput, PairMethod, Target
from torch import Tensor, nn


@METHODS.register("new-method")
class NewMethod(PairMethod):
    """One encoder; each view has to find the other view of its image in the batch."""

    paper = ""  # "Authors, venue (arXiv id), section", shown by `list` and `describe`
    default_target = "one-hot"
    default_loss = "cross-entropy"

    class Config(PairMethod.Config):
        """Each field is a flag, `--method.symmetric`, with its docstring as help."""

        symmetric: bool = True
        """Match each view with the other; if false, only view 0 with view 1."""
        projector: HeadConfig = HeadConfig(hidden=128, out=64, norm="batch")
        """Projector on the backbone."""

    config: Config

    def __init__(
        self,
        config: Config,
        backbone: nn.Module,
        target: Target,
        loss: Loss,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Compute the mean loss of a batch.

        Args:
            views: two views (B, C, H, W) of the same images.
            sample_ids: ids of the images in their data set (B,).
        """
        z = [self.student(view) for view in views]
        outputs = [self.compute_loss(z[q], z[k]) for q, k in self.config.pairs]
        return self.combine_directions(outputs)

    def compute_loss(self, query: Tensor, key: Tensor) -> MethodOutput:
        """Compute the loss of queries (B, out) against all keys (B, out) of the batch."""
        loss, logs = self.score_in_batch(query, key)
        return MethodOutput(loss, logs, query.detach())
