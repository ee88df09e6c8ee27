"""Scores of a run's backbone: kNN during training, the full protocol at the end."""

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
from sslzoo.evaluate.features import extract
from sslzoo.evaluate.labels import check_labels, split_holdout
from sslzoo.evaluate.neighborhood import NeighborMass, neighbor_mass
from sslzoo.evaluate.protocol import score, watch_knn
from sslzoo.evaluate.score import Scores
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.distributed import gather_rows
from sslzoo.runtime.progress import CountSteps, Steps, show_stage

Features = tuple[Tensor, Tensor]
"""(N, D) float32 and labels (N,) int64, on the CPU."""


class EncoderScores(NamedTuple):
    """Scores of an encoder; both None on another than the main process."""

    scores: Scores | None
    test: Features | None


class Evaluator:
    """Scores backbones on the labeled images of a run.

    Raises:
        UserError: at once, when the labels do not allow the protocol of `evaluation`.
    """

    def __init__(self, experiment: Experiment, data: Data, accelerator: Accelerator, console: Console) -> None:
        self.experiment, self.data, self.accelerator, self.console = experiment, data, accelerator, console
        self.knn_images = self._choose_knn_images()
        self.can_score = False
        """Whether there are labeled images to learn from and to test on."""
        if data.labeled is not None and data.test is not None and data.test.labels is not None:
            assert data.labeled.labels is not None
            train, test = torch.from_numpy(data.labeled.labels), torch.from_numpy(data.test.labels)
            check_labels(train, test, experiment.evaluation, data.classes)
            self.can_score = True

    def score_knn(self, backbone: nn.Module, count: CountSteps) -> float:
        """kNN accuracy on the held-out part of the labeled train images; called by all processes.

        Args:
            count: shows the progress of the features.
        """
        assert self.knn_images is not None
        steps = count("features for kNN", len(self.knn_images))
        features, labels = (
            part.to(self.accelerator.device) for part in self.extract_features(backbone, self.knn_images, steps)
        )
        fit, choice = split_holdout(labels, self.experiment.evaluation.holdout, self.experiment.evaluation.seed)
        return watch_knn(features[fit], labels[fit], features[choice], labels[choice], len(self.data.classes))

    def score_encoder(self, encoder: nn.Module, name: str, *, size: int | None = None) -> EncoderScores:
        """Scores on the test split and its features, on the main process; called by all processes if `can_score`.

        Args:
            name: of the encoder, for the progress lines.
            size: side of the images, where it is not that of the test augmentation.
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
        with show_stage(self.console, f"{name}: scoring") as say:
            scores = score(
                train_x, train_y, test_x, test_y, len(self.data.classes), config, lambda what: say(f"{name}: {what}")
            )
        return EncoderScores(scores, test_features)

    def measure_neighbors(self, method: Method) -> NeighborMass | None:
        """Where the target puts the weight beside the positive's, for the labeled train images in the test view.

        Each image has as many candidates as in training, or all other images; called by all processes.

        Returns:
            None on other processes than the main one, without labels, and for a target without such weight or one
            that goes by labels.
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
        mass = neighbor_mass(
            target, embeddings.to(device), labels.to(device), queue_size=min(queue_size, len(labels) - 1)
        )
        return mass if mass.same_class is not None else None

    def extract_features(self, encoder: nn.Module, images: Images, steps: Steps, size: int | None = None) -> Features:
        """Features of all images in their order; each process encodes a part and receives the whole."""
        mine = images.share(self.accelerator.process_index, self.accelerator.num_processes)
        with steps:
            features, labels = extract(encoder, self._test_views(mine, steps, size), self.accelerator)
        return gather_rows(features), gather_rows(labels)

    def _test_views(self, images: Images, steps: Steps, size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
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
                compiled=self.experiment.compile_augmentations is True,
            )
            yield view, batch.labels
            steps.advance(len(batch.ids) * self.accelerator.num_processes)

    def _choose_knn_images(self) -> Images | None:
        """At most `knn_images` of the labeled train images; None where kNN cannot be watched."""
        labeled, most = self.data.labeled, self.experiment.knn_images
        if labeled is None or not self.experiment.knn_every:
            return None
        if len(labeled) <= most:
            return labeled
        chosen = permutation(len(labeled), self.experiment.evaluation.seed)[:most].sort().values
        return labeled.subset(chosen.numpy())
