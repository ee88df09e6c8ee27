"""What classifiers that run the encoder themselves are given."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from sslzoo.counter import permutation
from sslzoo.data.loader import ordered_batches
from sslzoo.data.pictures import Pictures
from sslzoo.data.views import ViewRecipe
from sslzoo.distributed import gather_rows
from sslzoo.evaluate.features import evaluating
from sslzoo.evaluate.transform import Transform
from sslzoo.progress import Steps


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

    @torch.inference_mode()
    def encode_views(self, recipe: ViewRecipe, *, pictures: int, views: int, seed: int) -> Tensor:
        """Features (n, q, D) of q random views of n test pictures, drawn where there are more; on every process's CPU.

        Args:
            pictures: n, or all there are.
            views: q.
            seed: of the draw and of the views.
        """
        order = permutation(len(self.test), seed)[:pictures].sort().values
        chosen = self.test.subset(order.numpy())
        mine = chosen.share(self.accelerator.process_index, self.accelerator.num_processes)
        encoded = []
        with evaluating(self.encoder), Steps(self.console, "features of views", len(chosen) * views) as steps:
            for stored in ordered_batches(mine, self.batch_size, workers=self.workers):
                batch = stored.to(self.accelerator.device)
                of_batch = []
                for epoch in range(views):
                    with self.accelerator.autocast():
                        features = self.encoder(self.transform.view(recipe, batch, seed=seed, epoch=epoch))
                    of_batch.append(features.float().cpu())
                    steps.advance(len(features) * self.accelerator.num_processes)
                encoded.append(torch.stack(of_batch, dim=1))
        return gather_rows(torch.cat(encoded))

    def share(self, batch_size: int, pictures: int) -> int:
        """Pictures of a batch that each process gets: at most all there are, and the same number on each."""
        return max(1, min(batch_size, pictures) // int(self.accelerator.num_processes))
