"""Momentum Contrast."""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.method.pair import DirectionReduction, PairMethod
from sslzoo.modules.batch_norm import has_batch_norm
from sslzoo.modules.chunked import Scored
from sslzoo.modules.heads import Encoder
from sslzoo.modules.momentum import MomentumConfig, Teacher
from sslzoo.modules.queue import Queue
from sslzoo.runtime.distributed import encode_shuffled
from sslzoo.targets import Target


@METHODS.register("moco")
class MoCo(PairMethod):
    """A query matches the key of its image against a queue of older keys.

    The symmetric loss is the sum of both directions, as in the authors' CIFAR notebook
    (facebookresearch/moco, `colab/moco_cifar10_demo.ipynb`).
    """

    paper = "He et al., CVPR 2020 (arXiv 1911.05722); projector: MoCo v2, Chen et al. 2020 (arXiv 2003.04297)"

    class Config(MomentumConfig, PairMethod.Config):
        direction_reduction: DirectionReduction = "sum"
        """Whether a symmetric loss is the mean or the sum of its directions."""
        split_bn: PositiveInt = 8
        """Groups into which the backbone's batch norm splits the global batch; 1 is the whole batch."""
        shuffle: bool = True
        """Encode keys in random order if the backbone has batch norm."""
        queue_size: PositiveInt = 4096
        """Number of keys in the queue."""

    config: Config
    step: Tensor

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)
        self.teacher = Teacher(self.student, config.momentum, config.momentum_end)
        self.queue = Queue(config.queue_size, config.projector.out)
        self.shuffle = config.shuffle and has_batch_norm(backbone)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Score queries of view 0 with keys of view 1 and the queue and, if symmetric, the reverse."""
        return self.contrast(*self.encode(views))

    def encode(self, views: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Encode queries and keys (A, out) of all directions, in the order of `config.pairs`."""
        query = torch.cat([self.encode_queries(views[q]) for q, _ in self.config.pairs])
        key = torch.cat([self.encode_keys(views[k], k) for _, k in self.config.pairs])
        return query, key

    def encode_queries(self, view: Tensor) -> Tensor:
        """Encode queries (B, out) with the student."""
        queries: Tensor = self.student(view)
        return queries

    def encode_keys(self, view: Tensor, which: int) -> Tensor:
        """Encode keys (B, out) with the momentum encoder, in shuffled order."""
        if not self.shuffle:
            return self.teacher.forward(view)
        return encode_shuffled(self.teacher, view, self.seed, which, self.step)

    def contrast(self, query: Tensor, key: Tensor) -> MethodOutput:
        """Score queries (A, out) with their keys (A, out) and the queue, in float32."""
        with disable_autocast(query.device):
            query, key = F.normalize(query.float()), F.normalize(key.float())
            loss, logs = self.score_in_chunks(self.score_against_queue, query, key, candidates=len(self.queue.keys))
        return MethodOutput(self.reduce_directions(loss, len(self.config.pairs)), logs, query.detach(), key)

    def score_against_queue(self, query: Tensor, key: Tensor) -> Scored:
        """Compute the mean loss of a chunk of queries (A, out), and the target's logs."""
        return self.score(
            student_positive=(query * key).sum(dim=1),
            student_candidates=query @ self.queue.keys.T,
            teacher_positive=(key * key).sum(dim=1),
            teacher_candidates=key @ self.queue.keys.T,
        )

    def after_batch(self, output: MethodOutput) -> None:
        """Push the keys to the queue, view by view, so that their order does not depend on the number of processes."""
        assert output.keys is not None
        for keys in output.keys.chunk(len(self.config.pairs)):
            self.queue.push(keys)
        self.step += 1

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder."""
        self.teacher.update(self.student, progress)
