"""Iterative Similarity Distillation."""

from torch import Tensor, nn

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS
from sslzoo.modules.heads import Head, PredictorConfig
from sslzoo.targets import Target

from .moco import MoCo


@METHODS.register("isd")
class ISD(MoCo):
    """MoCo with a predictor; queries match the distribution of the key's similarities to older keys.

    There is no positive. The loss is the authors' KL divergence up to the entropy of the target, which has no gradient.
    """

    paper = "Tejankar et al., ICCV 2021 (arXiv 2012.09259)"
    default_target = "relational"
    default_loss = "relational"
    predicts = True

    class Config(PredictorConfig, MoCo.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.predictor = Head(config.projector.out, config.predictor)

    def encode_queries(self, view: Tensor) -> Tensor:
        """Predict from the student's embeddings, (B, out)."""
        predictions: Tensor = self.predictor(self.student(view))
        return predictions
