"""Bootstrap Your Own Latent."""

from typing import Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.backbones import feature_width
from sslzoo.distributed import gather, rank, world_size
from sslzoo.heads import Encoder, Head, HeadConfig
from sslzoo.losses import Loss
from sslzoo.method import METHODS, MethodOutput, PairMethod, full_precision
from sslzoo.norm import split_batch_norm
from sslzoo.targets import Target
from sslzoo.teacher import Teacher


@METHODS.register("byol")
class BYOL(PairMethod):
    """Bootstrap Your Own Latent: predict the momentum encoder's embedding of the other view.

    With a target other than one-hot the prediction also matches the other keys of the global batch (ASCL on BYOL).
    """

    paper = "Grill et al., NeurIPS 2020 (arXiv 2006.07733); targets: Feng and Patras, ICPR 2022 (arXiv 2207.11163)"
    losses = ("cosine",)

    class Config(PairMethod.Config):
        views: tuple[str, str] = ("strong", "strong")
        """View recipes of the two inputs."""
        symmetric: bool = True
        """Predict each view from the other; otherwise view 1 from view 0 alone."""
        momentum: float = Field(0.99, ge=0, le=1)
        """m of the momentum encoder."""
        momentum_end: float | None = Field(1.0, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps it constant."""
        split_bn: PositiveInt = 1
        """Groups that a batch, over all processes, is normalised in by batch norm; 1 for plain batch norm."""
        projector: HeadConfig = HeadConfig(norm="batch")
        """Head of both encoders."""
        predictor: HeadConfig = HeadConfig(hidden=512, norm="batch")
        """Head of the student alone; its output is as wide as the projector's."""

        @model_validator(mode="after")
        def _as_wide(self) -> Self:
            if self.predictor.out != self.projector.out:
                raise ValueError(f"predictor.out = {self.predictor.out}: must be projector.out, {self.projector.out}")
            return self

        @property
        def splits(self) -> int:
            return self.split_bn

        @property
        def directions(self) -> str:
            return "symmetric" if self.symmetric else "one-directional"

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        backbone = split_batch_norm(backbone, config.split_bn // world_size())
        self.student = Encoder(backbone, Head(feature_width(backbone), config.projector))
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)
        self.predictor = Head(config.projector.out, config.predictor)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """The prediction from view 0 against the key of view 1; when symmetric, the other way round as well."""
        pairs = [(0, 1), (1, 0)] if self.config.symmetric else [(0, 1)]
        outputs = [self.match(self.student(views[q]), self.teacher(views[k])) for q, k in pairs]
        loss = torch.stack([output.loss for output in outputs]).mean()
        logs = {name: torch.stack([output.logs[name] for output in outputs]).mean() for name in outputs[0].logs}
        return MethodOutput(loss, logs, torch.cat([output.embeddings for output in outputs]))

    def match(self, embedding: Tensor, key: Tensor) -> MethodOutput:
        """Predictions from embeddings (B, out) against keys (B, out), the global batch's other keys as candidates."""
        prediction = self.predictor(embedding)
        with full_precision(prediction.device):
            prediction, key = F.normalize(prediction.float()), F.normalize(key.float())
            keys = gather(key)
            loss, logs = self.score(
                student_positive=(prediction * key).sum(dim=1),
                student_candidates=without_own(prediction @ keys.T),
                teacher_positive=(key * key).sum(dim=1),
                teacher_candidates=without_own(key @ keys.T),
            )
        return MethodOutput(loss, logs, F.normalize(embedding.detach().float()))

    def after_step(self, progress: float) -> None:
        """The momentum encoder follows."""
        self.teacher.update(self.student, progress)


def without_own(similarities: Tensor) -> Tensor:
    """Similarities of this process's anchors and all keys, (B, world * B), less each one's own: (B, world * B - 1)."""
    anchors, keys = similarities.shape
    own = torch.eye(anchors, dtype=torch.bool, device=similarities.device)
    others = ~F.pad(own, (rank() * anchors, keys - (rank() + 1) * anchors))
    return similarities[others].view(anchors, keys - 1)
