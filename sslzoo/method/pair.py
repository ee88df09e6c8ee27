"""Base class of methods whose loss compares pairs of images."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import Method, MethodOutput, disable_autocast
from sslzoo.modules.chunked import Scored, mean_in_chunks
from sslzoo.modules.heads import HeadConfig
from sslzoo.runtime.distributed import gather, gather_with_gradient, rank
from sslzoo.targets import Target

DirectionReduction = Literal["mean", "sum"]
"""How the losses of several directions become one; the gradient of the sum is that of the mean times their number."""


class PairMethod(Method):
    """Base class of methods that compare each query with its positive and with M candidates.

    The target turns the teacher's similarities into weights, and the loss scores the student's similarities against the
    weights. A subclass computes the similarities and passes them to `score`; `score_in_batch` does both if the
    candidates are the other keys of the batch. Similarities, weights and losses are float32 under any autocast.
    """

    default_target = "one-hot"
    default_loss: ClassVar[str] = "cross-entropy"
    """Name of the method's own loss."""
    predicts: ClassVar[bool] = False
    """Whether a predictor prevents collapse, so that losses without repulsion can be used."""

    class Config(Method.Config):
        views: tuple[str, str] = ("strong", "strong")
        """Augmentations of query and key."""
        symmetric: bool = False
        """Use each view as query and as key."""
        direction_reduction: DirectionReduction = "mean"
        """Whether a symmetric loss is the mean or the sum of its directions; the default is that of the source."""
        projector: HeadConfig = HeadConfig()
        """Head on the backbone."""

        @property
        def directions(self) -> str:
            return "symmetric" if self.symmetric else "one-directional"

        @property
        def pairs(self) -> list[tuple[int, int]]:
            """Index of the query's view and of the key's view, for each direction of the loss."""
            return [(0, 1), (1, 0)] if self.symmetric else [(0, 1)]

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        """Store target and loss; a subclass creates the encoders.

        Args:
            config: settings of the method.
            backbone: timm model, images (B, C, H, W) to features (B, D).
            target: computes weights from the teacher's similarities.
            loss: scores the student's similarities against the weights.
            seed: seed of random numbers that must be equal on all processes.
        """
        super().__init__(config, backbone, seed=seed)
        self.target = target
        self.loss = loss
        self.candidates: int | None = None
        """M, the number of candidates in the last forward pass."""
        self.directions = 1
        """Number of directions in the last forward pass."""

    def combine_directions(self, outputs: Sequence[MethodOutput]) -> MethodOutput:
        """Combine one output per direction: losses by `direction_reduction`, logs by their mean."""
        output = MethodOutput.mean(outputs)
        return output._replace(loss=self.reduce_directions(output.loss, len(outputs)))

    def reduce_directions(self, mean: Tensor, count: int) -> Tensor:
        """Return the loss () of `count` directions from their mean, by `direction_reduction`."""
        self.directions = count
        return mean * count if self.config.direction_reduction == "sum" else mean

    def score(
        self,
        student_positive: Tensor,
        student_candidates: Tensor,
        teacher_positive: Tensor,
        teacher_candidates: Tensor,
    ) -> Scored:
        """Compute the mean loss of B anchors from cosine similarities.

        Args:
            student_positive: (B,) float32, of each query and its positive, with gradient.
            student_candidates: (B, M) float32, of each query and the candidates, with gradient.
            teacher_positive: (B,) float32, of each key and its positive.
            teacher_candidates: (B, M) float32, of each key and the same candidates.

        Returns:
            The loss () and the logs of the target.
        """
        self.candidates = student_candidates.shape[1]
        with torch.no_grad():
            weights, logs = self.target(teacher_positive, teacher_candidates)
        student = torch.cat([student_positive[:, None], student_candidates], dim=1)
        return self.loss(student, weights).mean(), logs

    def trivial_loss(self) -> float | None:
        """Return the loss if all similarities are 1: log(1 + M) for softmax cross-entropy; called by all processes."""
        if self.candidates is None:
            return None
        similarities = torch.ones(1, 1 + self.candidates, device=next(self.student.parameters()).device)
        weights = torch.zeros_like(similarities)
        weights[:, 0 if self.target.positive else 1] = 1
        with torch.no_grad():
            loss = self.loss(similarities, weights).mean()
        return float(self.reduce_directions(loss, self.directions))

    def score_in_batch(
        self, query: Tensor, key: Tensor, *, teacher: Tensor | None = None, queue: Tensor | None = None
    ) -> Scored:
        """Compute the mean loss of queries whose candidates are the other keys of the global batch.

        Gradients flow through the queries, and through keys that require a gradient, on all processes.

        Args:
            query: (B, D) embeddings of this process's images, not necessarily normalized.
            key: (B, D) embeddings of the same images; key i is the positive of query i.
            teacher: (B, D) embeddings from which the target's similarities are computed; default: `key`.
            queue: (N, D) unit vectors without gradient, used as further candidates.

        Returns:
            The loss () and the logs of the target.
        """
        with disable_autocast(query.device):
            query, key = F.normalize(query.float()), F.normalize(key.float())
            keys = gather_with_gradient(key)
            if teacher is None:
                teacher, teachers = key.detach(), keys.detach()
            else:
                teacher = F.normalize(teacher.float())
                teachers = gather(teacher)
            queued = key.new_zeros(0, key.shape[1]) if queue is None else queue

            def score_rows(query: Tensor, key: Tensor, teacher: Tensor, own: Tensor) -> Scored:
                return self.score(
                    student_positive=(query * key).sum(dim=1),
                    student_candidates=torch.cat([drop_columns(query @ keys.T, own), query @ queued.T], dim=1),
                    teacher_positive=torch.ones_like(query[:, 0]),
                    teacher_candidates=torch.cat([drop_columns(teacher @ teachers.T, own), teacher @ queued.T], dim=1),
                )

            own = find_local_rows(len(query), query.device)
            candidates = len(keys) + len(queued)
            return self.score_in_chunks(score_rows, query, key, teacher, own, candidates=candidates, shared=[keys])

    def score_in_chunks(
        self, score: Callable[..., Scored], *anchors: Tensor, candidates: int, shared: Sequence[Tensor] = ()
    ) -> Scored:
        """Compute `score(*anchors)` in chunks of rows if the table of similarities is large.

        A loss with `couples_rows` is computed for all rows at once.

        Args:
            score: computes mean loss and logs from rows of `anchors`.
            anchors: (B, ...) tensors; row i of each belongs to anchor i.
            candidates: number of candidates of an anchor, which determines the number of rows in a chunk.
            shared: tensors besides `anchors` that `score` uses and that require a gradient; the parameters of target
                and loss are always included.

        Returns:
            The loss () and the logs, averaged over all rows.
        """
        if self.loss.couples_rows:
            return score(*anchors)
        learned = [*self.target.parameters(), *self.loss.parameters()]
        return mean_in_chunks(score, anchors, candidates=candidates, shared=[*shared, *learned])


def find_local_rows(count: int, device: torch.device) -> Tensor:
    """Return the indices (count,) of this process's rows in a gathered tensor.

    Args:
        count: number of rows of each process.
        device: device of the result.
    """
    return rank() * count + torch.arange(count, device=device)


def drop_columns(similarities: Tensor, *columns: Tensor) -> Tensor:
    """Remove n entries from each row, and keep the order of the others.

    Args:
        similarities: (B, M).
        columns: n tensors (B,) int64: the index of an entry to remove from each row. The n indices of a row differ.

    Returns:
        (B, M - n).
    """
    kept = torch.arange(similarities.shape[1] - len(columns), device=similarities.device)[None]
    for column in torch.stack(columns).sort(dim=0).values:
        kept = kept + (kept >= column[:, None])
    return similarities.gather(1, kept)
