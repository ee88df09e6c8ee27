"""Training batches and their views."""

import torch

from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.setup import create_learner, start_accelerator
from sslzoo.training.step import Stepper


def test_views_do_not_depend_on_when_augmentations_are_sampled() -> None:
    experiment = compose(["--method", "ascl", "--dataset.limit", "64", "--batch-size", "32", "--seed", "4"])
    data = load_data(experiment.dataset)
    accelerator = start_accelerator(experiment)
    learner = create_learner(experiment, data, accelerator)
    stepper = Stepper(experiment, data.train, learner, accelerator, IntervalMeans())
    for batch in stepper.batches.load_epoch(3):
        sampled = stepper.batches.add_augmentations(batch, epoch=3)
        assert len(sampled.parameters) == 2
        assert not batch.parameters
        for one, other in zip(
            stepper.batches.create_views(batch, 3), stepper.batches.create_views(sampled, 3), strict=True
        ):
            assert torch.equal(one, other)
        other_epoch = stepper.batches.create_views(stepper.batches.add_augmentations(batch, epoch=2), 3)
        assert not torch.equal(other_epoch[0], stepper.batches.create_views(batch, 3)[0])
