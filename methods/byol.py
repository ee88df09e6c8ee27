"""Bootstrap Your Own Latent."""

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.pair import DirectionReduction, PairMethod
from sslzoo.modules.heads import Encoder, Head, PredictorConfig
from sslzoo.modules.momentum import MomentumConfig, Teacher
from sslzoo.targets import Target


@METHODS.register("byol")
class BYOL(PairMethod):
    """Predict the momentum encoder's embedding of the other view.

    The loss sums both directions, as in the authors' code (google-deepmind/deepmind-research,
    `byol/byol_experiment.py`). With targets other than one-hot, the prediction also matches the other keys of the
    global batch (ASCL on BYOL).
    """

    paper = "Grill et al., NeurIPS 2020 (arXiv 2006.07733); targets: Feng and Patras, ICPR 2022 (arXiv 2207.11163)"
    default_loss = "cosine"
    predicts = True

    class Config(MomentumConfig, PredictorConfig, PairMethod.Config):
        symmetric: bool = True
        """Predict each view from the other; otherwise only view 1 from view 0."""
        direction_reduction: DirectionReduction = "sum"
        """Whether a symmetric loss is the mean or the sum of its directions."""
        momentum_end: float | None = Field(1.0, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps m constant."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)
        self.predictor = Head(config.projector.out, config.predictor)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Score the prediction from view 0 with the key of view 1 and, if symmetric, the reverse."""
        pairs = self.config.pairs
        return self.combine_directions(
            [self.compute_loss(self.student(views[q]), self.teacher(views[k])) for q, k in pairs]
        )

    def compute_loss(self, embedding: Tensor, key: Tensor) -> MethodOutput:
        """Score predictions from embeddings (B, out) with keys (B, out); candidates are the other keys of the batch."""
        loss, logs = self.score_in_batch(self.predictor(embedding), key)
        return MethodOutput(loss, logs, F.normalize(embedding.detach().float()))

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder."""
        self.teacher.update(self.student, progress)
