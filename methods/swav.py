"""Swapping Assignments between Views."""

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.multi_crop import GLOBAL, score_swapped_predictions
from sslzoo.method.prototypes import PrototypeMethod, Prototypes, measure_spread
from sslzoo.modules.queue import Queue
from sslzoo.modules.sinkhorn import sinkhorn
from sslzoo.runtime.distributed import rank, world_size


@METHODS.register("swav")
class SwAV(PrototypeMethod):
    """Predict the soft assignment to prototypes of another view of the image.

    Assignments distribute the images of the global batch and of a queue of older ones equally over the prototypes.
    """

    paper = "Caron et al., NeurIPS 2020 (arXiv 2006.09882), section 3 and algorithm 1"

    class Config(PrototypeMethod.Config):
        epsilon: PositiveFloat = 0.05
        """Regularization of the assignments; larger is softer."""
        iterations: PositiveInt = 3
        """Iterations of the Sinkhorn-Knopp algorithm."""
        queue_length: NonNegativeInt = 0
        """Number of older embeddings of each global view that are assigned with the batch; 0 disables the queue."""
        queue_epoch: NonNegativeInt = 15
        """Epochs before the queue is used; it is filled from the first step on."""

    config: Config
    queues: nn.ModuleList
    queue_open: Tensor

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.prototypes = Prototypes(config.prototypes, config.projector.out)
        queues = GLOBAL if config.queue_length else 0
        self.queues = nn.ModuleList(Queue(config.queue_length, config.projector.out) for _ in range(queues))
        self.register_buffer("queue_open", torch.zeros(()))

    def before_epoch(self, epoch: int) -> None:
        """Use the queue from epoch `queue_epoch` on."""
        self.queue_open.fill_(epoch >= self.config.queue_epoch)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Compute the mean cross-entropy of each view with the assignment of each other global view."""
        embeddings = self.embed(views)
        scores = self.prototypes(embeddings)
        assignments = torch.stack([self.assign(scores[view].detach(), view) for view in range(GLOBAL)])
        loss = score_swapped_predictions(assignments, scores / self.config.temperature)
        return MethodOutput(loss, measure_spread(assignments), embeddings[0].detach(), embeddings[:GLOBAL].detach())

    @torch.no_grad()
    def assign(self, scores: Tensor, view: int) -> Tensor:
        """Return soft assignments (B, K) from the similarities (B, K) of a global view, jointly with its queue."""
        epsilon, iterations = self.config.epsilon, self.config.iterations
        if not self.queues:
            return sinkhorn(scores, epsilon, iterations)
        queue = self.queue(view).keys[rank() :: world_size()]
        counted = torch.cat([torch.ones_like(scores[:, 0]), self.queue_open.expand(len(queue))])
        return sinkhorn(torch.cat([scores, self.prototypes(queue)]), epsilon, iterations, counted)[: len(scores)]

    def queue(self, view: int) -> Queue:
        """Return the queue of a global view."""
        queue = self.queues[view]
        assert isinstance(queue, Queue)
        return queue

    def after_batch(self, output: MethodOutput) -> None:
        """Push the embeddings of the global views to their queues."""
        assert output.keys is not None
        for view in range(len(self.queues)):
            self.queue(view).push(output.keys[view])

    def after_step(self, progress: float) -> None:
        """Normalize the prototypes."""
        self.prototypes.normalize()
