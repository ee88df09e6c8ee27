"""The interface of a method, and the registry of methods."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

import sslzoo.config
from sslzoo.config.registry import Registry
from sslzoo.modules.heads import Encoder
from sslzoo.modules.layers import evaluate_frozen


class MethodOutput(NamedTuple):
    """The result of `Method.forward`."""

    loss: Tensor
    """() float32, the mean over this process's anchors, or the sum of these means over the directions."""
    logs: dict[str, Tensor]
    """() scalars without gradient, for the progress line and metrics.jsonl."""
    embeddings: Tensor
    """(B, D) embeddings of the student, without gradient, which are monitored for collapse."""
    keys: Tensor | None = None
    """Tensor without gradient that `Method.after_batch` needs, such as the keys for the queue."""
    sample_ids: Tensor | None = None
    """(B,) ids of the images, if `Method.after_batch` needs them."""

    @classmethod
    def mean(cls, outputs: Sequence["MethodOutput"]) -> Self:
        """Average the losses and logs of several outputs, and concatenate their embeddings and keys.

        Args:
            outputs: for example one for each direction of a symmetric loss; all have the same logs.
        """
        keys = [output.keys for output in outputs if output.keys is not None]
        return cls(
            loss=torch.stack([output.loss for output in outputs]).mean(),
            logs={name: torch.stack([output.logs[name] for output in outputs]).mean() for name in outputs[0].logs},
            embeddings=torch.cat([output.embeddings for output in outputs]),
            keys=torch.cat(keys) if keys else None,
        )


class Method(nn.Module):
    """Base class of methods: computes the loss of a batch of views, and owns all state that this requires.

    Derive from `PairMethod` or `InBatchMethod` if the loss compares pairs of images, so that targets and losses can be
    exchanged; derive from `Method` otherwise. A subclass defines `forward`, and overrides the hooks that it needs. All
    processes call them in this order:

        begin(id_bound, epochs)
        for each epoch:
            before_epoch(epoch)
            for each optimizer step:
                for each accumulated batch:
                    forward(views, sample_ids)
                    after_batch(output)     # after the backward pass: push keys into the queue
                before_step(progress)
                after_step(progress)        # after the optimizer step: update the momentum encoder

    Every state is a buffer or a submodule, so that `state_dict` contains it and a resumed run is bit-identical.
    """

    name: ClassVar[str]
    """Name in the registry; `METHODS.register` sets it."""
    paper: ClassVar[str] = ""
    """Source, such as "Authors, venue (arXiv id), equation"; `list` and `describe` show it."""
    default_target: ClassVar[str | None] = None
    """Name of the method's own target; None for a method that compares no pairs and accepts no target."""
    supervised: ClassVar[bool] = False
    """Whether `forward` receives the labels (B,) as its third argument, `labels`."""

    student: Encoder
    """The trained encoder, whose backbone is evaluated and exported."""

    class Config(sslzoo.config.PartConfig):
        """Settings of the method; each field is a flag `--method.*` with its docstring as help."""

        views: tuple[str, ...] = ("strong", "strong")
        """Augmentation of each view, in the order in which the method receives the views."""
        split_bn: PositiveInt = 1
        """Number of groups into which batch norm in the backbone splits the global batch; 1 uses the whole batch."""

        @property
        def directions(self) -> str:
            """Describe which views are compared, for reports: `symmetric`, for instance, or `one-directional`."""
            return "symmetric" if len(self.views) == 2 else f"symmetric, {len(self.views)}-view"

        def check_batch(self, images: int) -> None:
            """Check that the method supports a batch size.

            Args:
                images: number of images of a forward pass, over all processes.

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
                    f"method.split_bn = {splits}: each group of batch norm has {images // splits} image, but needs at "
                    "least 2"
                )

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        """Create the encoders and other state.

        Args:
            config: settings of the method.
            backbone: timm model, images (B, C, H, W) to features (B, D).
            seed: seed of random numbers that must be equal on all processes.
        """
        super().__init__()
        self.config = config
        self.seed = seed

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules; frozen layers of the backbone stay in evaluation."""
        super().train(mode)
        evaluate_frozen(self)
        return self

    def begin(self, id_bound: int | None, epochs: int) -> None:
        """Prepare for training; called once, before the checkpoint of a resumed run is loaded.

        Args:
            id_bound: exclusive upper bound of the sample ids; None for a streamed data set, whose ids have no meaning.
            epochs: number of epochs of the training.

        Raises:
            UserError: the method requires sample ids, and the data set is streamed.
        """

    def before_epoch(self, epoch: int) -> None:
        """Act before the first step of an epoch; not called if a run resumes within the epoch.

        Args:
            epoch: number of the epoch, from 0.
        """

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Compute the loss of a batch; the only call that passes through DistributedDataParallel.

        Args:
            views: (B, C, H, W) images for each of `config.views`; the height and width of views may differ.
            sample_ids: (B,) int64, ids of the images in their data set.
        """
        raise NotImplementedError

    def after_batch(self, output: MethodOutput) -> None:
        """Update state after the backward pass of a batch, such as the queue.

        Args:
            output: result of `forward`.
        """

    def before_step(self, progress: float) -> None:
        """Act before an optimizer step, for example drop gradients of frozen parameters.

        Args:
            progress: progress of training in [0, 1].
        """

    def after_step(self, progress: float) -> None:
        """Update state after an optimizer step, such as the momentum encoder.

        Args:
            progress: progress of training in [0, 1].
        """

    def trivial_loss(self) -> float | None:
        """Return the loss if all embeddings are equal: what a method without anything learned can reach.

        Returns:
            None if it is unknown, also before the first forward pass if it depends on the batch.
        """
        return None


def disable_autocast(device: torch.device) -> torch.autocast:
    """Create a context without autocast: in bf16, a temperature of 0.04 would lose the ranking of similarities."""
    return torch.autocast(device.type, enabled=False)


METHODS: Registry[type[Method]] = Registry("method", base=Method)
