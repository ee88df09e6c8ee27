"""Features of a finished run's test images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sslzoo.data.augment.view import create_view
from sslzoo.data.images import Images
from sslzoo.data.load import load_data
from sslzoo.evaluate.compose import compose_jobs
from sslzoo.evaluate.run import create_encoder, feature_store, transform_of
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import accelerator_precision, create_accelerator
from sslzoo.runtime.progress import Steps


class Encoded(NamedTuple):
    """The test split through a trained backbone."""

    features: NDArray[np.float32]
    """(N, D)."""
    labels: NDArray[np.int64]
    """(N,)."""
    classes: list[str]
    """Names of the classes."""
    images: Images
    """The images, in the same order."""


def encode_test(run: Path) -> Encoded:
    """The labeled test images through the backbone that a run has trained; features are kept, as `evaluate` does.

    Raises:
        UserError: images, labels or backbone are not to be had any more.
    """
    ((_, job),) = compose_jobs([str(run)])
    data = load_data(job.dataset)
    if data.test is None or data.test.labels is None:
        raise UserError(f"{run}: its data set has no labeled test images")
    accelerator = create_accelerator(job.precision)
    job = job.model_copy(update={"precision": accelerator_precision(accelerator)})
    transform = transform_of(job)
    encoder, _ = create_encoder(job, transform)
    store = feature_store(job, encoder.to(accelerator.device), transform, accelerator)
    features = store.features(data.test, transform, Steps(Console(quiet=True), "", len(data.test)))
    return Encoded(features.numpy(), data.test.labels, data.classes, data.test)


def show_images(experiment: Experiment, images: Images, places: NDArray[np.int64]) -> NDArray[np.float32]:
    """The test views at these indices (n,) as displayable images, (n, H, W, C) in [0, 1]."""
    batch = images.gather(places)
    views = create_view(experiment.augmentation("test"), batch, seed=0, epoch=0, view=0, mean=(0.0,), std=(1.0,))
    shown: NDArray[np.float32] = views.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return shown
