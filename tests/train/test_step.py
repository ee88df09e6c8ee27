"""A step's batches and views."""

import torch

from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.setup import create_learner, start_accelerator
from sslzoo.train.step import Stepper


def test_views_are_the_same_where_their_draws_were_made_ahead_for_a_gpu() -> None:
    experiment = compose(["--method", "ascl", "--dataset.limit", "64", "--batch-size", "32", "--seed", "4"])
    data = load_data(experiment.dataset)
    accelerator = start_accelerator(experiment)
    learner = create_learner(experiment, data, accelerator)
    stepper = Stepper(experiment, data.train, learner, accelerator, IntervalMeans())
    for batch in stepper.batches(3, skip=0):
        ahead = stepper.with_parameters(batch, epoch=3)
        assert len(ahead.parameters) == 2
        assert not batch.parameters
        for one, other in zip(stepper.views(batch, 3), stepper.views(ahead, 3), strict=True):
            assert torch.equal(one, other)
        other_epoch = stepper.views(stepper.with_parameters(batch, epoch=2), 3)
        assert not torch.equal(other_epoch[0], stepper.views(batch, 3)[0])
