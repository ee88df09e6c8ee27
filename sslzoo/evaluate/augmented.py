"""The linear probe on augmented images: the encoder is run in every epoch, and a grid of heads is trained at once."""

import torch
from torch import Tensor

from sslzoo.evaluate.classifier import Classifier
from sslzoo.evaluate.features import evaluating
from sslzoo.evaluate.labels import Indices
from sslzoo.evaluate.linear import CHUNK, LinearHeads, Standardizer, only
from sslzoo.evaluate.score import top_classes
from sslzoo.evaluate.subject import Subject
from sslzoo.experiment.evaluation import LinearGrid
from sslzoo.runtime.distributed import gather


class AugmentedProbe(Classifier):
    """The linear probe of the papers: a frozen encoder in evaluation mode, random crops, SGD.

    Features are standardized, where that is wanted, by those of the test view of the images it learns from.
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
        standardize = Standardizer(self.subject.train_features[learn].to(device), active=grid.standardize)
        heads = self._fit(learn, grid, standardize)
        parts = torch.split(queries, CHUNK)
        return torch.cat([heads.logits(standardize(part.to(device))).cpu() for part in parts])

    @torch.no_grad()
    def _fit(self, learn: Indices, grid: LinearGrid, standardize: Standardizer) -> LinearHeads:
        subject = self.subject
        heads = LinearHeads(subject.train_features.shape[1], subject.classes, grid, subject.accelerator.device)
        settings = grid.model_dump_json(), subject.probe.model_dump_json(), str(self.seed)
        training = subject.unfinished.training("augmented", *settings, learn.tobytes())
        done, saved = training.load()
        if saved:
            heads.load(saved["heads"])
        views = subject.learn_from(
            subject.train.subset(learn),
            "augmented probe",
            seed=self.seed,
            epochs=grid.epochs,
            batch_size=grid.batch_size,
            start=done,
        )
        with evaluating(subject.encoder):
            for step, view, labels in views:
                with subject.accelerator.autocast():
                    features = subject.encoder(view)
                heads.step(standardize(gather(features.float())), gather(labels), step / views.steps)
                training.save(step + 1, lambda: {"heads": heads.state()})
        training.finish(views.steps, lambda: {"heads": heads.state()})
        return heads
