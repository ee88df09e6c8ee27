"""The interface that every method implements, and the part that is common to methods with pairs."""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Self

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

import sslzoo.config
from sslzoo.distributed import gather, gather_with_gradient, rank
from sslzoo.heads import Encoder, HeadConfig
from sslzoo.losses import LOSSES, Loss
from sslzoo.pieces import Scored, mean_in_pieces
from sslzoo.registry import Registry
from sslzoo.targets import Target


class MethodOutput(NamedTuple):
    """What a forward pass hands to the training loop."""

    loss: Tensor
    """() float32, the mean over this process's anchors."""
    logs: dict[str, Tensor]
    """Scalars without gradient."""
    embeddings: Tensor
    """(B, D) of the student, without gradient: what the collapse monitor looks at."""
    keys: Tensor | None = None
    """What `after_batch` needs, without gradient."""
    sample_ids: Tensor | None = None
    """(B,) of the batch, where `after_batch` needs them."""

    @classmethod
    def mean(cls, outputs: Sequence["MethodOutput"]) -> Self:
        """The mean of the losses and logs of several directions, their embeddings and keys one after the other."""
        keys = [output.keys for output in outputs if output.keys is not None]
        return cls(
            loss=torch.stack([output.loss for output in outputs]).mean(),
            logs={name: torch.stack([output.logs[name] for output in outputs]).mean() for name in outputs[0].logs},
            embeddings=torch.cat([output.embeddings for output in outputs]),
            keys=torch.cat(keys) if keys else None,
        )


class Method(nn.Module):
    """A framework: turns views into a loss, and keeps its own teacher, bank and other state.

    The hooks are called on all processes, around the forward pass: `begin`, then in each epoch `before_epoch`, and in
    each step `after_batch` (once for every accumulated batch), `before_step` and `after_step`.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    default_target: ClassVar[str | None] = None
    """Name of the target that the method comes with; None for a method without pairs, which takes no target."""
    supervised: ClassVar[bool] = False
    """Whether `forward` also takes the labels: `forward(views, sample_ids, labels)`."""

    student: Encoder
    """Backbone and projector, trained."""

    class Config(sslzoo.config.PartConfig):
        """Settings of the method, shown as `--method.*`."""

        views: tuple[str, ...] = ("strong", "strong")
        """The view recipe of each input, in the order that the method takes them."""
        split_bn: PositiveInt = 1
        """Groups that the backbone's batch norm sees a batch in, over all processes; 1 is the whole batch."""

        @property
        def directions(self) -> str:
            """How the loss treats views, for the record: one-directional or symmetric; more than two are counted."""
            return "symmetric" if len(self.views) == 2 else f"symmetric, {len(self.views)}-view"

        def check_batch(self, pictures: int) -> None:
            """Whether the method can work with batches of this size.

            Args:
                pictures: of one forward pass, over all processes.

            Raises:
                ValueError: it cannot.
            """
            splits = self.split_bn
            if pictures % splits:
                raise ValueError(
                    f"method.split_bn = {splits}: must divide the batch of {pictures} pictures "
                    "(batch_size / accumulate)"
                )
            if pictures // splits < 2:
                raise ValueError(
                    f"method.split_bn = {splits}: leaves {pictures // splits} picture to each group of batch norm, "
                    "2 are needed"
                )

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed

    def begin(self, id_bound: int | None, epochs: int) -> None:
        """Called once before training, and before a checkpoint is read where a run goes on.

        Args:
            id_bound: all sample ids are below it; None where pictures are streamed and ids tell nothing.
            epochs: passes over the training pictures, the length of `progress`.

        Raises:
            UserError: the method needs ids that tell pictures apart, and has none.
        """

    def before_epoch(self, epoch: int) -> None:
        """Called before the first step of each epoch, not where a run goes on within one."""

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Loss of one batch; the only call that is wrapped for several processes.

        Args:
            views: one (B, C, H, W) tensor for each of `config.views`.
            sample_ids: (B,) numbers of the pictures in their data set.
        """
        raise NotImplementedError

    def after_batch(self, output: MethodOutput) -> None:
        """Called after each backward pass."""

    def before_step(self, progress: float) -> None:
        """Called before each optimiser step, at a share of training in [0, 1]: the place to withhold a gradient."""

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step, at a share of training in [0, 1]."""


class PairMethod(Method):
    """A method whose loss scores similarities of pairs against a target's weights."""

    default_target = "one-hot"
    default_loss: ClassVar[str] = "cross-entropy"
    """Name of the loss that the method comes with."""
    predicts: ClassVar[bool] = False
    """Whether a predictor keeps the embeddings apart, so that a loss that only attracts makes sense."""

    class Config(Method.Config):
        views: tuple[str, str] = ("strong", "strong")
        """View recipes of query and key."""
        symmetric: bool = False
        """Let each view be query and key in turn, and average both losses."""
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
        self, query: Tensor, key: Tensor, *, teacher: Tensor | None = None, bank: Tensor | None = None
    ) -> Scored:
        """Queries (B, D) against their keys (B, D), the other keys of the global batch as candidates, in float32.

        Gradient goes through the queries and, where they carry one, through the keys.

        Args:
            teacher: (B, D) embeddings whose similarities the target sees in place of the keys' own.
            bank: (N, D) L2-normalised, further candidates, without gradient.
        """
        with full_precision(query.device):
            query, key = F.normalize(query.float()), F.normalize(key.float())
            keys = gather_with_gradient(key)
            if teacher is None:
                teacher, known = key.detach(), keys.detach()
            else:
                teacher = F.normalize(teacher.float())
                known = gather(teacher)
            older = key.new_zeros(0, key.shape[1]) if bank is None else bank

            def score(query: Tensor, key: Tensor, teacher: Tensor, own: Tensor) -> Scored:
                return self.score(
                    student_positive=(query * key).sum(dim=1),
                    student_candidates=torch.cat([without(query @ keys.T, own), query @ older.T], dim=1),
                    teacher_positive=torch.ones_like(query[:, 0]),
                    teacher_candidates=torch.cat([without(teacher @ known.T, own), teacher @ older.T], dim=1),
                )

            own = own_rows(len(query), query.device)
            return self.in_pieces(score, query, key, teacher, own, candidates=len(keys) + len(older), shared=[keys])

    def in_pieces(
        self, score: Callable[..., Scored], *anchors: Tensor, candidates: int, shared: Sequence[Tensor] = ()
    ) -> Scored:
        """`mean_in_pieces`, with the parameters of target and loss among what its gradient goes through."""
        learned = [*self.target.parameters(), *self.loss.parameters()]
        return mean_in_pieces(score, anchors, candidates=candidates, shared=[*shared, *learned])


class InBatchMethod(PairMethod):
    """A method whose forward pass is `contrast` of `embed`: embeddings of single pictures, then all of the batch.

    Everything trained is in `embed`, so a batch may be embedded in pieces (`sslzoo.train.gradient_cache`).
    """

    def __init__(
        self, config: PairMethod.Config, backbone: nn.Module, target: Target, loss: Loss, *, seed: int = 0
    ) -> None:
        super().__init__(config, backbone, target, loss, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def forward(
        self, views: list[Tensor], sample_ids: Tensor, labels: Tensor | None = None, gradient: Tensor | None = None
    ) -> MethodOutput:
        """Loss of one batch.

        Args:
            labels: (B,) int64, -1 where there is none; for supervised methods.
            gradient: of the loss by the embeddings, where it is known; the loss returned has that gradient.
        """
        embeddings = self.embed(views)
        if gradient is None:
            return self.contrast(embeddings, labels)
        return MethodOutput((embeddings.float() * gradient).sum(), {}, embeddings.detach().flatten(1))

    def embed(self, views: list[Tensor]) -> Tensor:
        """Embeddings (B, V, D) of each picture's V views, not normalised."""
        return torch.stack([self.student(view) for view in views], dim=1)

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Loss of this process's pictures, from embeddings (B, V, D) and, for supervised methods, labels (B,)."""
        raise NotImplementedError


def own_rows(count: int, device: torch.device) -> Tensor:
    """(count,) int64: which rows of a gathered tensor are this process's."""
    return rank() * count + torch.arange(count, device=device)


def without(similarities: Tensor, *columns: Tensor) -> Tensor:
    """(A, M) to (A, M - n): each row without its entry of each of n `columns` (A,), the rest in order."""
    kept = torch.arange(similarities.shape[1] - len(columns), device=similarities.device)[None]
    for column in torch.stack(columns).sort(dim=0).values:
        kept = kept + (kept >= column[:, None])
    return similarities.gather(1, kept)


def misfit(method: type[Method], target: type[Target], loss: type[Loss]) -> str | None:
    """Why a method, a target and a loss make no sense together; None where they do."""
    if not issubclass(method, PairMethod):
        return f"{method.name} has no pairs to match, so it takes no target and no loss"
    if method.supervised and not target.supervised:
        return f"{method.name} weighs candidates by their labels, not by their similarities"
    if target.supervised and not method.supervised:
        return f"{target.name} weighs candidates by their labels, which only supervised methods are given"
    if loss.positive and not target.positive:
        return f"{target.name} gives the positive no weight, and {loss.name} scores it"
    if target.positive and not loss.positive:
        return f"{loss.name} leaves the positive out, and {target.name} gives it weight"
    if target.soft and not loss.soft:
        return f"{loss.name} knows the positive alone, and {target.name} gives weight to candidates"
    if not loss.repels and not method.predicts:
        return f"{loss.name} only attracts, and {method.name} has no predictor that keeps embeddings apart"
    return None


def usual_loss(method: type[PairMethod], target: type[Target]) -> type[Loss]:
    """The method's own loss; where that does not go with the target, the one that the target needs, or softmax."""
    names = (method.default_loss, target.default_loss, PairMethod.default_loss)
    losses = [LOSSES.get(name) for name in names if name is not None]
    return next((loss for loss in losses if misfit(method, target, loss) is None), losses[0])


def full_precision(device: torch.device) -> torch.autocast:
    """Context in which autocast is off: a temperature of 0.04 in bf16 would lose the ranking of similarities."""
    return torch.autocast(device.type, enabled=False)


METHODS: Registry[type[Method]] = Registry("method", base=Method)
