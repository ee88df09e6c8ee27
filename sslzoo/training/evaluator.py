"""Evaluate the backbone of a run: kNN during training, the full protocol at the end."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from sslzoo.data.augment.view import create_view
from sslzoo.data.images import Images
from sslzoo.data.load import Data
from sslzoo.data.loader import ordered_batches
from sslzoo.evaluation.features import extract_features
from sslzoo.evaluation.labels import check_labels, split_holdout
from sslzoo.evaluation.neighborhood import NeighborMass, measure_neighbor_mass
from sslzoo.evaluation.protocol import measure_knn_accuracy, score_features
from sslzoo.evaluation.score import Scores
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.distributed import gather_rows
from sslzoo.runtime.progress import CountSteps, Steps, show_stage

Features = tuple[Tensor, Tensor]
"""(N, D) float32 and labels (N,) int64, on the CPU."""


class EncoderScores(NamedTuple):
    """Scores of an encoder and its features of the test images; both None except on the main process."""

    scores: Scores | None
    test_features: Features | None


class Evaluator:
    """Scores encoders on the labeled images of a run.

    Raises:
        UserError: the labels do not support the protocol in `evaluation`; raised on creation.
    """

    def __init__(self, experiment: Experiment, data: Data, accelerator: Accelerator, console: Console) -> None:
        self.experiment, self.data, self.accelerator, self.console = experiment, data, accelerator, console
        self.knn_images = self._choose_knn_images()
        self.can_score = False
        """Whether there are labeled train and test images."""
        if data.labeled is not None and data.test is not None and data.test.labels is not None:
            assert data.labeled.labels is not None
            train, test = torch.from_numpy(data.labeled.labels), torch.from_numpy(data.test.labels)
            check_labels(train, test, experiment.evaluation, data.classes)
            self.can_score = True

    def score_knn(self, backbone: nn.Module, create_progress: CountSteps) -> float:
        """Compute the kNN accuracy on the held-out part of the labeled train images; called by all processes.

        Args:
            create_progress: creates the progress display of the feature extraction.
        """
        assert self.knn_images is not None
        steps = create_progress("features for kNN", len(self.knn_images))
        features, labels = (
            part.to(self.accelerator.device) for part in self.extract_features(backbone, self.knn_images, steps)
        )
        fit, held_out = split_holdout(labels, self.experiment.evaluation.holdout, self.experiment.evaluation.seed)
        return measure_knn_accuracy(
            features[fit], labels[fit], features[held_out], labels[held_out], len(self.data.classes)
        )

    def score_encoder(self, encoder: nn.Module, name: str, *, size: int | None = None) -> EncoderScores:
        """Score an encoder on the test split; called by all processes, and only if `can_score`.

        Args:
            name: name of the encoder in progress lines.
            size: image size; None uses that of the test augmentation.

        Returns:
            The scores and the features of the test images, on the main process.
        """
        labeled, test = self.data.labeled, self.data.test
        assert labeled is not None
        assert test is not None
        train_features, test_features = (
            self.extract_features(
                encoder, images, Steps(self.console, f"{name}: features of {split}", len(images)), size
            )
            for split, images in (("train", labeled), ("test", test))
        )
        if not self.accelerator.is_main_process:
            return EncoderScores(None, None)
        device, config = self.accelerator.device, self.experiment.evaluation
        train_x, train_y, test_x, test_y = (tensor.to(device) for tensor in (*train_features, *test_features))
        with show_stage(self.console, f"{name}: scoring") as update:
            scores = score_features(
                train_x, train_y, test_x, test_y, len(self.data.classes), config, lambda what: update(f"{name}: {what}")
            )
        return EncoderScores(scores, test_features)

    def measure_neighbors(self, method: Method) -> NeighborMass | None:
        """Measure how much weight the target gives to candidates of the same class, on test views of the train images.

        Each image has as many candidates as in training, or all other images if there are fewer. Called by all
        processes.

        Returns:
            The result on the main process; None on other processes, without labels, for supervised targets, and for
            targets that give no weight to candidates.
        """
        labeled, target = self.data.labeled, getattr(method, "target", None)
        if labeled is None or target is None or target.supervised:
            return None
        steps = Steps(self.console, "embeddings of train", len(labeled))
        embeddings, labels = self.extract_features(getattr(method, "teacher", method.student), labeled, steps)
        queue_size = getattr(self.experiment.method, "queue_size", self.experiment.batch_size - 1)
        if not self.accelerator.is_main_process or len(labels) < 3:
            return None
        device = self.accelerator.device
        mass = measure_neighbor_mass(
            target, embeddings.to(device), labels.to(device), queue_size=min(queue_size, len(labels) - 1)
        )
        return mass if mass.same_class is not None else None

    def extract_features(self, encoder: nn.Module, images: Images, steps: Steps, size: int | None = None) -> Features:
        """Extract the features of all images in their order; each process encodes a part and receives all."""
        mine = images.share(self.accelerator.process_index, self.accelerator.num_processes)
        with steps:
            features, labels = extract_features(encoder, self._create_test_views(mine, steps, size), self.accelerator)
        return gather_rows(features), gather_rows(labels)

    def _create_test_views(self, images: Images, steps: Steps, size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        augmentation, dataset = self.experiment.augmentation("test"), self.experiment.dataset
        if size is not None:
            augmentation = augmentation.model_copy(update={"size": size})
        for stored in ordered_batches(images, self.experiment.batch_size, workers=dataset.workers):
            batch = stored.to(self.accelerator.device)
            view = create_view(
                augmentation,
                batch,
                seed=0,
                epoch=0,
                view=0,
                mean=dataset.mean,
                std=dataset.std,
                value_range=dataset.range,
                rgb=dataset.rgb,
                compiled=self.experiment.compile_augmentations is True,
            )
            yield view, batch.labels
            steps.advance(len(batch.ids) * self.accelerator.num_processes)

    def _choose_knn_images(self) -> Images | None:
        """Choose up to `knn_images` of the labeled train images; None if there are none or kNN is disabled."""
        labeled, limit = self.data.labeled, self.experiment.knn_images
        if labeled is None or not self.experiment.knn_every:
            return None
        if len(labeled) <= limit:
            return labeled
        chosen = permutation(len(labeled), self.experiment.evaluation.seed)[:limit].sort().values
        return labeled.subset(chosen.numpy())
