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
    """BYOL whose prediction also matches the nearest neighbors of the key, among the batch's keys and older ones.

    With K neighbors of the target `hard` this is the mean of the paper over the K + 1 nearest keys, the image's own
    being the nearest.
    """

    paper = "Koohpayegani et al., ICCV 2021 (arXiv 2105.07269)"
    default_target = "hard"

    class Config(BYOL.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key."""
        symmetric: bool = False
        """Predict each view from the other; otherwise view 1 from view 0 alone."""
        momentum_end: float | None = Field(None, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps it constant."""
        queue_size: PositiveInt = 4096
        """Number of older keys among which neighbors are looked for."""

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.queue = Queue(config.queue_size, config.projector.out)

    def compute_loss(self, embedding: Tensor, key: Tensor) -> MethodOutput:
        """Predictions from embeddings (B, out) against keys (B, out), the other keys of the batch and the queue."""
        loss, logs = self.score_in_batch(self.predictor(embedding), key, queue=self.queue.keys)
        with disable_autocast(key.device):
            return MethodOutput(loss, logs, F.normalize(embedding.detach().float()), F.normalize(key.float()))

    def after_batch(self, output: MethodOutput) -> None:
        """The keys of the first direction enter the queue, so that an image enters once."""
        assert output.keys is not None
        self.queue.push(torch.chunk(output.keys, len(self.config.pairs))[0])
