"""The linear probe on augmented pictures: the encoder is run in every epoch, and a grid of heads is trained at once."""

import torch
from torch import Tensor

from sslzoo.data.loader import batches_per_epoch, epoch_batches
from sslzoo.distributed import gather
from sslzoo.evaluate.classifier import Classifier
from sslzoo.evaluate.features import evaluating
from sslzoo.evaluate.labels import Indices
from sslzoo.evaluate.linear import PIECE, LinearHeads, Standardiser, only
from sslzoo.evaluate.score import top_classes
from sslzoo.evaluate.settings import LinearGrid
from sslzoo.evaluate.subject import Subject
from sslzoo.progress import Steps


class AugmentedProbe(Classifier):
    """The linear probe of the papers: a frozen encoder in evaluation mode, random crops, SGD.

    Features are standardised, where that is wanted, by those of the test view of the pictures it learns from.
    """

    def __init__(self, subject: Subject, grid: LinearGrid, seed: int) -> None:
        self.subject, self.grid, self.seed = subject, grid, seed
        self.settings = grid.settings()

    def guess(self, learn: Indices, queries: Indices) -> Tensor:
        logits = self._logits(learn, self.grid, self.subject.train_features[queries])
        return logits.argmax(dim=2).T

    def rank(self, learn: Indices, setting: int) -> Tensor:
        grid = only(self.grid, self.settings[setting])
        return top_classes(self._logits(learn, grid, self.subject.test_features)[:, 0])

    def _logits(self, learn: Indices, grid: LinearGrid, queries: Tensor) -> Tensor:
        """(Q, H, C) on the CPU."""
        device = self.subject.accelerator.device
        standardise = Standardiser(self.subject.train_features[learn].to(device), active=grid.standardise)
        heads = self._fit(learn, grid, standardise)
        parts = torch.split(queries, PIECE)
        return torch.cat([heads.logits(standardise(part.to(device))).cpu() for part in parts])

    @torch.no_grad()
    def _fit(self, learn: Indices, grid: LinearGrid, standardise: Standardiser) -> LinearHeads:
        subject, accelerator = self.subject, self.subject.accelerator
        pictures = subject.train.subset(learn)
        batch_size, world = subject.share(grid.batch_size, len(pictures)), accelerator.num_processes
        steps = grid.epochs * batches_per_epoch(len(pictures), batch_size, world)
        heads = LinearHeads(subject.train_features.shape[1], subject.classes, grid, accelerator.device)
        done = 0
        with (
            evaluating(subject.encoder),
            Steps(subject.console, "augmented probe", steps * batch_size * world) as shown,
        ):
            for epoch in range(grid.epochs):
                for stored in epoch_batches(
                    pictures,
                    seed=self.seed,
                    epoch=epoch,
                    batch_size=batch_size,
                    rank=accelerator.process_index,
                    world=world,
                    workers=subject.workers,
                ):
                    batch = stored.to(accelerator.device)
                    view = subject.transform.view(subject.probe, batch, seed=self.seed, epoch=epoch)
                    with accelerator.autocast():
                        features = subject.encoder(view)
                    heads.step(standardise(gather(features.float())), gather(batch.labels), done / steps)
                    done += 1
                    shown.advance(batch_size * world, f"epoch {epoch + 1}/{grid.epochs}")
        return heads
