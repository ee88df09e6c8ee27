"""What classifiers that run the encoder themselves are given."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.images import Images
from sslzoo.data.loader import batches_per_epoch, epoch_batches, ordered_batches
from sslzoo.evaluate.features import evaluating
from sslzoo.evaluate.transform import Transform
from sslzoo.evaluate.unfinished import Unfinished
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.distributed import gather_rows
from sslzoo.runtime.progress import Steps


@dataclass(frozen=True)
class Subject:
    """An encoder with the images that it is judged on."""

    encoder: nn.Module
    """A timm model without classifier: (B, C, H, W) -> (B, D)."""
    transform: Transform
    """The test view."""
    probe: Augmentation
    """The view that probes and fine-tuning learn from."""
    train: Images
    test: Images
    train_features: Tensor
    """(M, D) of the test view."""
    test_features: Tensor
    """(N, D) likewise."""
    accelerator: Accelerator
    console: Console
    batch_size: int
    """Images that a process encodes at once without gradient."""
    workers: int
    unfinished: Unfinished
    """Trainings that an earlier evaluation was stopped in."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.train.classes)

    @torch.inference_mode()
    def encode_views(self, augmentation: Augmentation, *, images: int, views: int, seed: int) -> Tensor:
        """Features (n, q, D) of q random views of n test images, drawn where there are more; on every process's CPU.

        Args:
            images: n, or all there are.
            views: q.
            seed: of the draw and of the views.
        """
        order = permutation(len(self.test), seed)[:images].sort().values
        chosen = self.test.subset(order.numpy())
        mine = chosen.share(self.accelerator.process_index, self.accelerator.num_processes)
        encoded = []
        with evaluating(self.encoder), Steps(self.console, "features of views", len(chosen) * views) as steps:
            for stored in ordered_batches(mine, self.batch_size, workers=self.workers):
                batch = stored.to(self.accelerator.device)
                of_batch = []
                for epoch in range(views):
                    view = self.transform.view(augmentation, batch, seed=seed, epoch=epoch)
                    with self.accelerator.autocast():
                        features = self.encoder(view)
                    of_batch.append(features.float().cpu())
                    steps.advance(len(features) * self.accelerator.num_processes)
                encoded.append(torch.stack(of_batch, dim=1))
        return gather_rows(torch.cat(encoded))

    def learn_from(
        self, images: Images, what: str, *, seed: int, epochs: int, batch_size: int, start: int = 0
    ) -> "TrainingViews":
        """Batches of `probe` views to train a classifier on, from step `start` on.

        Args:
            what: is being trained, for the progress display.
            batch_size: over all processes; at most all images there are, the same number on each process.
        """
        return TrainingViews(self, images, what, seed=seed, epochs=epochs, batch_size=batch_size, start=start)


class TrainingViews:
    """An iterator over (step, view (B, C, size, size), labels (B,)) of this process, that shows its progress.

    Each epoch has its own order and its own views, both functions of the seed; an incomplete last batch is left out.
    """

    def __init__(
        self, subject: Subject, images: Images, what: str, *, seed: int, epochs: int, batch_size: int, start: int
    ) -> None:
        self._subject, self._images, self._what = subject, images, what
        self._seed, self._epochs, self._start = seed, epochs, start
        self._world = int(subject.accelerator.num_processes)
        self._share = max(1, min(batch_size, len(images)) // self._world)
        self.per_epoch = batches_per_epoch(len(images), self._share, self._world)
        self.steps = epochs * self.per_epoch
        """Of the whole training."""
        self.note = ""
        """Shown beside the progress."""

    @property
    def batch_size(self) -> int:
        """Images of a step, over all processes."""
        return self._share * self._world

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        accelerator, subject = self._subject.accelerator, self._subject
        left = (self.steps - self._start) * self.batch_size
        with Steps(subject.console, self._what, left) as shown:
            for epoch in range(self._start // self.per_epoch, self._epochs):
                skip = max(0, self._start - epoch * self.per_epoch)
                batches = epoch_batches(
                    self._images,
                    seed=self._seed,
                    epoch=epoch,
                    batch_size=self._share,
                    rank=accelerator.process_index,
                    world=self._world,
                    start=skip,
                    workers=subject.workers,
                )
                for step, stored in enumerate(batches, start=epoch * self.per_epoch + skip):
                    batch = stored.to(accelerator.device)
                    yield step, subject.transform.view(subject.probe, batch, seed=self._seed, epoch=epoch), batch.labels
                    shown.advance(self.batch_size, f"epoch {epoch + 1}/{self._epochs}{self.note}")
