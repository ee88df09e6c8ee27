"""Mixed Nearest Neighbors for Self-Supervised Learning."""

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.method.pair import DirectionReduction
from sslzoo.modules.batch_norm import has_batch_norm
from sslzoo.modules.mixing import mix_with_neighbors
from sslzoo.modules.queue import EmbeddingQueue
from sslzoo.runtime.counter_rng import uniform
from sslzoo.runtime.distributed import encode_shuffled
from sslzoo.targets import Target

from .byol import BYOL


@METHODS.register("mnn")
class MNN(BYOL):
    """BYOL whose prediction also matches mixtures of the key and its nearest neighbors among older keys.

    loss(h(q), k) + 1/K sum_j (2 - 2 cos(h(q), lambda n_j + (1 - lambda) k)). The first term is BYOL's, with any target
    and loss; targets other than one-hot are our extension.
    """

    paper = "Long et al. 2023 (arXiv 2311.00562); mixture and settings as in their code"

    class Config(BYOL.Config):
        views: tuple[str, str] = ("strong", "weak")
        """Augmentations of query and key, each of which is the other one when symmetric."""
        split_bn: PositiveInt = 8
        """Groups that batch norm in the backbone splits a batch of all processes into; 1 is the whole batch."""
        shuffle: bool = True
        """Encode keys in random order, where the backbone has batch norm."""
        momentum_end: float | None = Field(None, ge=0, le=1)
        """m at the end of training, reached along a cosine; None keeps it constant."""
        direction_reduction: DirectionReduction = "mean"
        """Whether a symmetric loss is the mean or the sum of its directions; the mean is that of the authors' code."""
        queue_size: PositiveInt = 4096
        """Number of older keys among which neighbors are looked for."""
        neighbors: PositiveInt = 5
        """K, the number of neighbors that are mixed with the key."""
        share: float | None = Field(None, ge=0, le=1)
        """lambda, the share of a neighbor in its mixture; None draws it from [0, 1) in each direction of each batch."""
        mixture: Literal["embeddings", "directions"] = "embeddings"
        """`embeddings` mixes them before normalization and normalizes the mixture; `directions` mixes unit vectors and
        leaves the mixture as it is, as the last version of the authors' code does."""

    config: Config
    step: Tensor
    """() int64: batches so far, from which lambda and the order of keys are drawn."""

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.queue = EmbeddingQueue(config.queue_size, config.projector.out)
        self.shuffle = config.shuffle and has_batch_norm(backbone)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """The prediction from view 0 against the key of view 1; when symmetric, the other way round as well."""
        pairs = self.config.pairs
        return self.combine_directions([self.match_mixed(self.student(views[q]), views[k], k) for q, k in pairs])

    def match_mixed(self, embedding: Tensor, view: Tensor, which: int) -> MethodOutput:
        """Predictions from embeddings (B, out) against the keys of another view, and mixtures of these, in float32."""
        key = self.encode_keys(view, which)
        prediction = self.predictor(embedding)
        loss, logs = self.score_in_batch(prediction, key)
        with disable_autocast(key.device):
            key = key.float()
            mixtures = self.mix(key, which)
            similarity = (F.normalize(prediction.float())[:, None] * mixtures).sum(dim=2).mean()
            logs = logs | {"mixture_similarity": similarity.detach()}
            return MethodOutput(loss + 2 - 2 * similarity, logs, F.normalize(embedding.detach().float()), key)

    def encode_keys(self, view: Tensor, which: int) -> Tensor:
        """Keys (B, out) of the momentum encoder, encoded in shuffled order."""
        if not self.shuffle:
            return self.teacher.forward(view)
        return encode_shuffled(self.teacher, view, self.seed, which, self.step)

    def mix(self, key: Tensor, which: int) -> Tensor:
        """Mixtures (B, K, out) of keys (B, out) with each of their K nearest neighbors in the queue."""
        share = uniform(self.seed, which, self.step) if self.config.share is None else self.config.share
        neighbors = self.queue.nearest(key, self.config.neighbors)
        if self.config.mixture == "directions":
            return mix_with_neighbors(F.normalize(key), F.normalize(neighbors, dim=2), share)
        return F.normalize(mix_with_neighbors(key, neighbors, share), dim=2)

    def after_batch(self, output: MethodOutput) -> None:
        """The keys of the first direction enter the queue, so that an image enters once."""
        assert output.keys is not None
        self.queue.push(torch.chunk(output.keys, len(self.config.pairs))[0])
        self.step += 1
