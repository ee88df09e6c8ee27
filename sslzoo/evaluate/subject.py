"""What classifiers that run the encoder themselves are given."""

from dataclasses import dataclass

from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from sslzoo.data.pictures import Pictures
from sslzoo.data.views import ViewRecipe
from sslzoo.evaluate.transform import Transform


@dataclass(frozen=True)
class Subject:
    """An encoder with the pictures that it is judged on."""

    encoder: nn.Module
    """A timm model without classifier: (B, C, H, W) -> (B, D)."""
    transform: Transform
    """The test view."""
    probe: ViewRecipe
    """The view that probes and fine-tuning learn from."""
    train: Pictures
    test: Pictures
    train_features: Tensor
    """(M, D) of the test view."""
    test_features: Tensor
    """(N, D) likewise."""
    accelerator: Accelerator
    console: Console
    batch_size: int
    """Pictures that a process encodes at once without gradient."""
    workers: int

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.train.classes)

    def share(self, batch_size: int, pictures: int) -> int:
        """Pictures of a batch that each process gets: at most all there are, and the same number on each."""
        return max(1, min(batch_size, pictures) // int(self.accelerator.num_processes))
