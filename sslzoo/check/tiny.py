"""A method small enough to check in moments: its settings for the digits on a backbone of one convolution."""

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
    """A batch of made-up images, as `Method.forward` takes it."""

    views: list[Tensor]
    """A (B, C, size, size) tensor for each view of the method."""
    ids: Tensor
    """(B,) int64."""
    labels: Tensor
    """(B,) int64."""

    def local(self) -> "Sample":
        """The part of this process."""
        return Sample([local_part(view) for view in self.views], local_part(self.ids), local_part(self.labels))


@dataclass(frozen=True)
class Tiny:
    """Makes tiny methods and batches for one choice of parts."""

    experiment: Experiment
    images: int = 32
    """Size of a batch, and the bound of sample ids."""

    @classmethod
    def of(cls, *arguments: str) -> "Tiny":
        """From flags of a training run, such as `--method simclr`; the data set is the digits."""
        return cls(compose([*arguments, "--dataset", "digits"]))

    def method(self, *, norm: bool = True, backbone: nn.Module | None = None) -> Method:
        """The method, the same at every call.

        Args:
            norm: whether the tiny backbone has batch norm.
            backbone: another backbone instead.
        """
        experiment = self.experiment
        torch.manual_seed(experiment.seed)
        backbone = backbone or TinyBackbone(experiment.dataset.channels, norm=norm)
        method = build_method(experiment.method, experiment.target, experiment.loss, backbone, seed=experiment.seed)
        method.begin(self.images, experiment.epochs)
        return method

    def sample(self, seed: int = 0) -> Sample:
        """A batch, another one for each seed; the views of an image are it and some noise."""
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


def run(method: Method, sample: Sample) -> MethodOutput:
    """The method's answer to a batch."""
    labels = {"labels": sample.labels} if method.supervised else {}
    output: MethodOutput = method(sample.views, sample.ids, **labels)
    return output
