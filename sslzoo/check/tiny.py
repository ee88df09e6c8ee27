"""Tiny methods and batches for fast checks: settings for the digits, and a backbone of one convolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method, MethodOutput
from sslzoo.method.build import build_method
from sslzoo.runtime.distributed import local_part

CLASSES = 4


class TinyBackbone(nn.Sequential):
    """Convolution, batch norm and pooling: (B, C, H, W) to (B, 16), for images of any size."""

    num_features = 16

    def __init__(self, channels: int = 1, *, norm: bool = True) -> None:
        super().__init__(
            nn.Conv2d(channels, 16, 3, bias=False),
            nn.BatchNorm2d(16) if norm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


@dataclass(frozen=True)
class Sample:
    """A random batch: the inputs of `Method.forward`."""

    views: list[Tensor]
    """A (B, C, size, size) tensor for each view of the method."""
    ids: Tensor
    """(B,) int64."""
    labels: Tensor
    """(B,) int64."""

    def local(self) -> "Sample":
        """This process's share of the batch."""
        return Sample([local_part(view) for view in self.views], local_part(self.ids), local_part(self.labels))


@dataclass(frozen=True)
class Tiny:
    """Creates tiny methods and batches for one combination of parts."""

    experiment: Experiment
    images: int = 32
    """Batch size; sample ids are below it."""

    @classmethod
    def of(cls, *arguments: str) -> "Tiny":
        """Compose the settings from flags of a training run, such as `--method simclr`, for the digits."""
        return cls(compose([*arguments, "--dataset", "digits"]))

    def method(self, *, norm: bool = True, backbone: nn.Module | None = None) -> Method:
        """Create the method; every call returns equal weights.

        Args:
            norm: whether the tiny backbone has batch norm.
            backbone: replaces the tiny backbone.
        """
        experiment = self.experiment
        torch.manual_seed(experiment.seed)
        backbone = backbone or TinyBackbone(experiment.dataset.channels, norm=norm)
        method = build_method(experiment.method, experiment.target, experiment.loss, backbone, seed=experiment.seed)
        method.begin(self.images, experiment.epochs)
        return method

    def sample(self, seed: int = 0) -> Sample:
        """Sample a batch; the views of an image share a random base and differ in weaker noise."""
        generator = torch.Generator().manual_seed(seed)
        experiment, n = self.experiment, self.images
        views = []
        for name in experiment.method.views:
            size = experiment.augmentation(name).size or experiment.img_size
            base = torch.randn(
                n, experiment.dataset.channels, size, size, generator=torch.Generator().manual_seed(seed)
            )
            views.append(base + 0.5 * torch.randn(base.shape, generator=generator))
        return Sample(views, torch.randperm(n, generator=generator), torch.arange(n) % CLASSES)


def create_tiny_method(flags: Sequence[str]) -> Method:
    """Create a method for fast tests: for the digits, on a backbone of one convolution.

    Args:
        flags: flags of a training run, such as `["--plugin", "my_method.py", "--method", "my-method"]`.

    Returns:
        The method, ready for training; its weights are equal in each call.

    Raises:
        UserError: a name or setting is unknown, or a value is invalid.
    """
    return Tiny.of(*flags).method()


def sample_tiny_batch(flags: Sequence[str], seed: int = 0) -> Sample:
    """Sample a random batch of 32 images for `create_tiny_method`; the views of an image are similar.

    Args:
        flags: those of the method.
        seed: seed of the batch.

    Returns:
        A batch with the attributes `views`, a list of tensors (32, C, H, W), `ids` (32,) and `labels` (32,).

    Raises:
        UserError: a name or setting is unknown, or a value is invalid.
    """
    return Tiny.of(*flags).sample(seed)


def run(method: Method, sample: Sample) -> MethodOutput:
    """Run a method on a batch."""
    labels = {"labels": sample.labels} if method.supervised else {}
    output: MethodOutput = method(sample.views, sample.ids, **labels)
    return output
