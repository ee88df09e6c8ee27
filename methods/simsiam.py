"""Exploring Simple Siamese Representation Learning."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.pair import PairMethod
from sslzoo.modules.heads import Encoder, Head, HeadConfig, PredictorConfig
from sslzoo.targets import Target


@METHODS.register("simsiam")
class SimSiam(PairMethod):
    """Predict the same encoder's embedding of the other view, without gradient through that embedding.

    A symmetric loss is the mean of both directions (algorithm 1). Targets other than one-hot, which also match the
    other keys of the global batch, are our extension.
    """

    paper = "Chen and He, CVPR 2021 (arXiv 2011.10566), algorithm 1"
    default_loss = "negative-cosine"
    predicts = True

    class Config(PredictorConfig, PairMethod.Config):
        symmetric: bool = True
        """Predict each view from the others; otherwise only the others from view 0."""
        projector: HeadConfig = HeadConfig(layers=3, out=2048, norm="batch", out_norm="batch")
        """Head on the backbone; the paper has two layers for CIFAR."""
        predictor: HeadConfig = HeadConfig(hidden=512, out=2048, norm="batch")
        """Head on the projector; `out` must equal the projector's."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)
        self.predictor = Head(config.projector.out, config.predictor)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Score the prediction from each view, or only from view 0, with the mean embedding of the other views."""
        embeddings = [self.student(view) for view in views]
        outputs = []
        for query in range(len(views) if self.config.symmetric else 1):
            others = torch.stack(embeddings[:query] + embeddings[query + 1 :]).detach()
            outputs.append(self.compute_loss(embeddings[query], others.float().mean(dim=0)))
        return self.combine_directions(outputs)

    def compute_loss(self, embedding: Tensor, key: Tensor) -> MethodOutput:
        """Score predictions from embeddings (B, out) with keys (B, out); candidates are the other keys of the batch."""
        loss, logs = self.score_in_batch(self.predictor(embedding), key)
        return MethodOutput(loss, logs, F.normalize(embedding.detach().float()))
