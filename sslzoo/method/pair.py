"""Methods whose loss scores similarities of pairs against a target."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import Loss
from sslzoo.method.base import Method, disable_autocast
from sslzoo.modules.chunked import Scored, mean_in_chunks
from sslzoo.modules.heads import HeadConfig
from sslzoo.runtime.distributed import gather, gather_with_gradient, rank
from sslzoo.targets import Target


class PairMethod(Method):
    """A method whose loss scores similarities of pairs against a target's weights."""

    default_target = "one-hot"
    default_loss: ClassVar[str] = "cross-entropy"
    """Name of the loss that the method comes with."""
    predicts: ClassVar[bool] = False
    """Whether a predictor prevents collapse, so that a loss without repulsion is allowed."""

    class Config(Method.Config):
        views: tuple[str, str] = ("strong", "strong")
        """Augmentations of query and key."""
        symmetric: bool = False
        """Use each view as query and as key, and average both losses."""
        projector: HeadConfig = HeadConfig()
        """Head on the backbone."""

        @property
        def directions(self) -> str:
            return "symmetric" if self.symmetric else "one-directional"

        @property
        def pairs(self) -> list[tuple[int, int]]:
            """Numbers of the views that are query and key."""
            return [(0, 1), (1, 0)] if self.symmetric else [(0, 1)]

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.target = target
        self.loss = loss

    def score(
        self,
        student_positive: Tensor,
        student_candidates: Tensor,
        teacher_positive: Tensor,
        teacher_candidates: Tensor,
    ) -> Scored:
        """Mean loss of B anchors, and the target's logs.

        Args:
            student_positive: (B,) cosine similarities, with gradient.
            student_candidates: (B, M) likewise.
            teacher_positive: (B,), without gradient.
            teacher_candidates: (B, M), without gradient.
        """
        with torch.no_grad():
            weights, logs = self.target(teacher_positive, teacher_candidates)
        student = torch.cat([student_positive[:, None], student_candidates], dim=1)
        return self.loss(student, weights).mean(), logs

    def score_in_batch(
        self, query: Tensor, key: Tensor, *, teacher: Tensor | None = None, queue: Tensor | None = None
    ) -> Scored:
        """Queries (B, D) against their keys (B, D), the other keys of the global batch as candidates, in float32.

        Gradient goes through the queries and, where they carry one, through the keys.

        Args:
            teacher: (B, D) embeddings whose similarities the target sees in place of the keys' own.
            queue: (N, D) L2-normalized, further candidates, without gradient.
        """
        with disable_autocast(query.device):
            query, key = F.normalize(query.float()), F.normalize(key.float())
            keys = gather_with_gradient(key)
            if teacher is None:
                teacher, known = key.detach(), keys.detach()
            else:
                teacher = F.normalize(teacher.float())
                known = gather(teacher)
            older = key.new_zeros(0, key.shape[1]) if queue is None else queue

            def score(query: Tensor, key: Tensor, teacher: Tensor, own: Tensor) -> Scored:
                return self.score(
                    student_positive=(query * key).sum(dim=1),
                    student_candidates=torch.cat([drop_columns(query @ keys.T, own), query @ older.T], dim=1),
                    teacher_positive=torch.ones_like(query[:, 0]),
                    teacher_candidates=torch.cat([drop_columns(teacher @ known.T, own), teacher @ older.T], dim=1),
                )

            own = local_rows(len(query), query.device)
            return self.in_chunks(score, query, key, teacher, own, candidates=len(keys) + len(older), shared=[keys])

    def in_chunks(
        self, score: Callable[..., Scored], *anchors: Tensor, candidates: int, shared: Sequence[Tensor] = ()
    ) -> Scored:
        """`mean_in_chunks`, with the parameters of target and loss among what its gradient goes through.

        A loss that couples rows is computed for all of them at once.
        """
        if self.loss.couples_rows:
            return score(*anchors)
        learned = [*self.target.parameters(), *self.loss.parameters()]
        return mean_in_chunks(score, anchors, candidates=candidates, shared=[*shared, *learned])


def local_rows(count: int, device: torch.device) -> Tensor:
    """(count,) int64: which rows of a gathered tensor are this process's."""
    return rank() * count + torch.arange(count, device=device)


def drop_columns(similarities: Tensor, *columns: Tensor) -> Tensor:
    """(A, M) to (A, M - n): each row without its entry of each of n `columns` (A,), the rest in order."""
    kept = torch.arange(similarities.shape[1] - len(columns), device=similarities.device)[None]
    for column in torch.stack(columns).sort(dim=0).values:
        kept = kept + (kept >= column[:, None])
    return similarities.gather(1, kept)
