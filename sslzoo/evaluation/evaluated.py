"""An encoder with the images and features that it is evaluated on."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.images import Images
from sslzoo.data.loader import ordered_batches
from sslzoo.evaluation.checkpoint import ClassifierCheckpoints
from sslzoo.evaluation.features import encode_view, evaluation_mode
from sslzoo.evaluation.transform import Transform
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.distributed import gather_rows
from sslzoo.runtime.progress import Steps


@dataclass(frozen=True)
class EvaluatedEncoder:
    """An encoder with the images and features that it is evaluated on."""

    encoder: nn.Module
    """A timm model without classifier: (B, C, H, W) -> (B, D)."""
    transform: Transform
    """Creates the test view."""
    probe: Augmentation
    """Augmentation of the images that probes and fine-tuning learn from."""
    train: Images
    test: Images
    train_features: Tensor
    """(M, D) of the test view."""
    test_features: Tensor
    """(N, D) of the test view."""
    accelerator: Accelerator
    console: Console
    batch_size: int
    """Images in a batch of a process without gradient."""
    workers: int
    """Processes that decode images that are not stored decoded."""
    checkpoints: ClassifierCheckpoints
    """Checkpoints of classifiers whose training was interrupted."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.train.classes)

    @torch.inference_mode()
    def encode_views(self, augmentation: Augmentation, *, images: int, views: int, seed: int) -> Tensor:
        """Encode random views of test images; each process returns the features of all views on the CPU.

        Args:
            images: number n of test images, chosen at random; all of them if there are fewer.
            views: number q of views per image.
            seed: seed of the choice and of the views.

        Returns:
            Features (n, q, D).
        """
        order = permutation(len(self.test), seed)[:images].sort().values
        chosen = self.test.subset(order.numpy())
        share = chosen.share(self.accelerator.process_index, self.accelerator.num_processes)
        encoded = []
        with evaluation_mode(self.encoder), Steps(self.console, "features of views", len(chosen) * views) as steps:
            for stored in ordered_batches(share, self.batch_size, workers=self.workers):
                batch = stored.to(self.accelerator.device)
                batch_features = []
                for epoch in range(views):
                    view = self.transform.create_view(augmentation, batch, seed=seed, epoch=epoch)
                    features = encode_view(self.encoder, view, self.accelerator)
                    batch_features.append(features.cpu())
                    steps.advance(len(features) * self.accelerator.num_processes)
                encoded.append(torch.stack(batch_features, dim=1))
        return gather_rows(torch.cat(encoded))
