"""Create the views of a run: the inputs of its method."""

import torch
from torch import Tensor

from sslzoo.data.augment.view import create_view
from sslzoo.data.batch import Batch
from sslzoo.experiment.schema import Experiment


def create_views(
    experiment: Experiment, batch: Batch, epoch: int, memory_format: torch.memory_format = torch.contiguous_format
) -> list[Tensor]:
    """Create the inputs of the method: a (B, C, size, size) tensor for each view."""
    return [
        create_view(
            experiment.augmentation(name),
            batch,
            seed=experiment.seed,
            epoch=epoch,
            view=index,
            mean=experiment.dataset.mean,
            std=experiment.dataset.std,
            value_range=experiment.dataset.range,
            rgb=experiment.dataset.rgb,
            compiled=experiment.compile_augmentations is True,
            memory_format=memory_format,
        )
        for index, name in enumerate(experiment.method.views)
    ]
