"""Nearest-Neighbor Contrastive Learning of Visual Representations."""

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.method.pair import PairMethod
from sslzoo.modules.heads import Encoder, Head, HeadConfig, PredictorConfig
from sslzoo.modules.queue import Queue
from sslzoo.targets import Target


@METHODS.register("nnclr")
class NNCLR(PairMethod):
    """The nearest older neighbor of a view matches the other view's prediction against those of the global batch.

    A symmetric loss is the mean of both directions (section 3.2). Targets other than one-hot are our extension: the
    teacher's similarities are those of the other view's projector outputs, without gradient.
    """

    paper = "Dwibedi et al., ICCV 2021 (arXiv 2104.14548), section 3.2"
    predicts = True

    class Config(PredictorConfig, PairMethod.Config):
        symmetric: bool = True
        """Look up neighbors of each view; otherwise only of view 0."""
        projector: HeadConfig = HeadConfig(layers=3, hidden=2048, out=256, norm="batch", out_norm="batch-affine")
        """Head of the encoder."""
        predictor: HeadConfig = HeadConfig(hidden=4096, out=256, norm="batch")
        """Head on the projector; `out` must equal the projector's."""
        queue_size: PositiveInt = 65536
        """Number of older embeddings in the support set."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)
        self.predictor = Head(config.projector.out, config.predictor)
        self.support_set = Queue(config.queue_size, config.projector.out)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Score neighbors of view 0 with predictions from view 1 and, if symmetric, the reverse."""
        embeddings = [self.student(view) for view in views]
        output = self.combine_directions(
            [self.compute_loss(embeddings[a], embeddings[p]) for a, p in self.config.pairs]
        )
        with disable_autocast(views[0].device):
            return output._replace(keys=F.normalize(embeddings[0].detach().float()))

    def compute_loss(self, anchor: Tensor, positive: Tensor) -> MethodOutput:
        """Score neighbors of the embeddings (B, out) of one view with predictions from those (B, out) of the other."""
        with disable_autocast(anchor.device):
            anchor = F.normalize(anchor.detach().float())
        neighbor = self.support_set.nearest(anchor, 1)[:, 0]
        loss, logs = self.score_in_batch(neighbor, self.predictor(positive), teacher=positive.detach())
        similarity = (anchor * neighbor).sum(dim=1).mean()
        return MethodOutput(loss, logs | {"neighbor_similarity": similarity}, anchor)

    def after_batch(self, output: MethodOutput) -> None:
        """Push the embeddings of view 0 to the support set, after the lookup, so that none finds itself."""
        assert output.keys is not None
        self.support_set.push(output.keys)
