"""Linear probe on augmented images: the frozen encoder runs in every epoch, and a grid of heads is trained at once."""

import torch
from torch import Tensor

from sslzoo.evaluation.classifier import Classifier
from sslzoo.evaluation.evaluated import EvaluatedEncoder
from sslzoo.evaluation.features import encode_view, evaluation_mode
from sslzoo.evaluation.labels import Indices
from sslzoo.evaluation.linear import QUERIES_AT_ONCE, LinearHeads, Standardizer, select_setting
from sslzoo.evaluation.score import rank_top_classes
from sslzoo.evaluation.training_views import TrainingViews
from sslzoo.experiment.evaluation import LinearGrid
from sslzoo.runtime.distributed import gather


class AugmentedProbe(Classifier):
    """The linear probe of the papers: a frozen encoder in evaluation mode, random crops, SGD.

    With `grid.standardize`, features are standardized by the statistics of the test views of its training images.
    """

    def __init__(self, evaluated: EvaluatedEncoder, grid: LinearGrid, seed: int) -> None:
        self.evaluated, self.grid, self.seed = evaluated, grid, seed
        self.settings = grid.settings()

    def predict(self, train: Indices, queries: Indices) -> Tensor:
        logits = self._compute_logits(train, self.grid, self.evaluated.train_features[queries])
        return logits.argmax(dim=2).T

    def rank_test(self, train: Indices, setting: int) -> Tensor:
        grid = select_setting(self.grid, self.settings[setting])
        return rank_top_classes(self._compute_logits(train, grid, self.evaluated.test_features)[:, 0])

    def _compute_logits(self, train: Indices, grid: LinearGrid, queries: Tensor) -> Tensor:
        """Train heads and compute their logits (Q, H, C) on the CPU."""
        device = self.evaluated.accelerator.device
        standardize = Standardizer(self.evaluated.train_features[train].to(device), active=grid.standardize)
        heads = self._fit(train, grid, standardize)
        parts = torch.split(queries, QUERIES_AT_ONCE)
        return torch.cat([heads.logits(standardize(part.to(device))).cpu() for part in parts])

    @torch.no_grad()
    def _fit(self, train: Indices, grid: LinearGrid, standardize: Standardizer) -> LinearHeads:
        evaluated = self.evaluated
        heads = LinearHeads(evaluated.train_features.shape[1], evaluated.classes, grid, evaluated.accelerator.device)
        settings = grid.model_dump_json(), evaluated.probe.model_dump_json(), str(self.seed)
        checkpoint = evaluated.checkpoints.open("augmented", *settings, train.tobytes())
        done, state = checkpoint.load()
        if state:
            heads.load_state(state["heads"])
        views = TrainingViews(
            evaluated,
            evaluated.train.subset(train),
            "augmented probe",
            seed=self.seed,
            epochs=grid.epochs,
            batch_size=grid.batch_size,
            start=done,
        )
        with evaluation_mode(evaluated.encoder):
            for step, view, labels in views:
                features = encode_view(evaluated.encoder, view, evaluated.accelerator)
                heads.step(standardize(gather(features)), gather(labels), step / views.total_steps)
                checkpoint.save_if_due(step + 1, lambda: {"heads": heads.state()})
        checkpoint.save_finished(views.total_steps, lambda: {"heads": heads.state()})
        return heads
