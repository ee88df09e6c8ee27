"""Mean Shift for Self-Supervised Learning."""

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.modules.queue import Queue
from sslzoo.targets import Target

from .byol import BYOL


@METHODS.register("msf")
class MSF(BYOL):
    """BYOL whose prediction also matches the nearest neighbors of the key, among the keys of the batch and older ones.

    With K neighbors, the target `hard` gives the mean over the K + 1 nearest keys; the nearest is the image's own. K is
    therefore `--topk` of the authors' code minus 1. Their code is one-directional; `symmetric` sums both directions as
    in BYOL.
    """

    paper = "Koohpayegani et al., ICCV 2021 (arXiv 2105.07269)"
    default_target = "hard"

    class Config(BYOL.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""
        symmetric: bool = False
        """Predict each view from the other; otherwise only view 1 from view 0."""
        momentum_end: float | None = Field(None, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps m constant."""
        queue_size: PositiveInt = 4096
        """Number of older keys in which neighbors are searched."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.queue = Queue(config.queue_size, config.projector.out)

    def compute_loss(self, embedding: Tensor, key: Tensor) -> MethodOutput:
        """Score predictions from embeddings (B, out) with keys (B, out), the other keys of the batch and the queue."""
        loss, logs = self.score_in_batch(self.predictor(embedding), key, queue=self.queue.keys)
        with disable_autocast(key.device):
            return MethodOutput(loss, logs, F.normalize(embedding.detach().float()), F.normalize(key.float()))

    def after_batch(self, output: MethodOutput) -> None:
        """Push the keys of the first direction to the queue, so that it holds one key per image."""
        assert output.keys is not None
        self.queue.push(torch.chunk(output.keys, len(self.config.pairs))[0])
