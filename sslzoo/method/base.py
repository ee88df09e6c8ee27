"""The interface of a method, and the registry of methods."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

import sslzoo.config
from sslzoo.config.registry import Registry
from sslzoo.modules.heads import Encoder


class MethodOutput(NamedTuple):
    """Result of a forward pass, for the training loop."""

    loss: Tensor
    """() float32, the mean over this process's anchors."""
    logs: dict[str, Tensor]
    """Scalars without gradient."""
    embeddings: Tensor
    """(B, D) of the student, without gradient; the collapse monitor reads them."""
    keys: Tensor | None = None
    """Tensors that `after_batch` needs, without gradient."""
    sample_ids: Tensor | None = None
    """(B,) of the batch, where `after_batch` needs them."""

    @classmethod
    def mean(cls, outputs: Sequence["MethodOutput"]) -> Self:
        """Mean of the losses and logs of several directions; embeddings and keys are concatenated."""
        keys = [output.keys for output in outputs if output.keys is not None]
        return cls(
            loss=torch.stack([output.loss for output in outputs]).mean(),
            logs={name: torch.stack([output.logs[name] for output in outputs]).mean() for name in outputs[0].logs},
            embeddings=torch.cat([output.embeddings for output in outputs]),
            keys=torch.cat(keys) if keys else None,
        )


class Method(nn.Module):
    """A framework: turns views into a loss, and keeps its own teacher, queue and other state.

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
        """The augmentation of each input, in the order that the method takes them."""
        split_bn: PositiveInt = 1
        """Groups that batch norm in the backbone splits a batch of all processes into; 1 is the whole batch."""

        @property
        def directions(self) -> str:
            """How the loss treats views, for the record: one-directional or symmetric; more than two are counted."""
            return "symmetric" if len(self.views) == 2 else f"symmetric, {len(self.views)}-view"

        def check_batch(self, images: int) -> None:
            """Check that the method supports batches of this size.

            Args:
                images: of one forward pass, over all processes.

            Raises:
                ValueError: it does not.
            """
            splits = self.split_bn
            if images % splits:
                raise ValueError(
                    f"method.split_bn = {splits}: must divide the batch of {images} images (batch_size / accumulate)"
                )
            if images // splits < 2:
                raise ValueError(
                    f"method.split_bn = {splits}: leaves {images // splits} image in each group of batch norm, "
                    "at least 2 are needed"
                )

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed

    def begin(self, id_bound: int | None, epochs: int) -> None:
        """Called once before training; in a resumed run, before the checkpoint is loaded.

        Args:
            id_bound: all sample ids are below it; None where images are streamed and ids carry no meaning.
            epochs: passes over the training images, the length of `progress`.

        Raises:
            UserError: the method needs ids of images, and a stream has none.
        """

    def before_epoch(self, epoch: int) -> None:
        """Called before the first step of each epoch, but not when a run resumes within one."""

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Loss of one batch; the only call that is wrapped for several processes.

        Args:
            views: one (B, C, H, W) tensor for each of `config.views`.
            sample_ids: (B,) numbers of the images in their data set.
        """
        raise NotImplementedError

    def after_batch(self, output: MethodOutput) -> None:
        """Called after each backward pass."""

    def before_step(self, progress: float) -> None:
        """Called before each optimizer step, with the progress of training in [0, 1]; may drop gradients."""

    def after_step(self, progress: float) -> None:
        """Called after each optimizer step, with the progress of training in [0, 1]."""


def disable_autocast(device: torch.device) -> torch.autocast:
    """Context in which autocast is off: a temperature of 0.04 in bf16 would lose the ranking of similarities."""
    return torch.autocast(device.type, enabled=False)


METHODS: Registry[type[Method]] = Registry("method", base=Method)
