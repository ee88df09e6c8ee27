"""Encode the test images of a finished run."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sslzoo.data.augment.view import create_view
from sslzoo.data.display import choose_display, is_shown_unchanged
from sslzoo.data.images import Images
from sslzoo.data.load import load_data
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.encoder import create_encoder, create_feature_store
from sslzoo.evaluation.transform import choose_transform
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import accelerator_precision, create_accelerator
from sslzoo.runtime.progress import Steps


class EncodedImages(NamedTuple):
    """Test images and their features from a trained backbone."""

    features: NDArray[np.float32]
    """Features (N, D)."""
    labels: NDArray[np.int64]
    """Class of each image (N,)."""
    classes: list[str]
    """Class names."""
    images: Images
    """Images in the same order."""


def encode_test(run: Path) -> EncodedImages:
    """Encode the labeled test images with the backbone of a run; features are cached, as in `evaluate`.

    Raises:
        UserError: images, labels or backbone are not available.
    """
    ((_, job),) = compose_jobs([str(run)])
    data = load_data(job.dataset)
    if data.test is None or data.test.labels is None:
        raise UserError(f"{run}: its data set has no labeled test images")
    accelerator = create_accelerator(job.precision)
    job = job.model_copy(update={"precision": accelerator_precision(accelerator)})
    job = job.model_copy(update={"dataset": data.config})
    transform = choose_transform(job)
    encoder, _ = create_encoder(job, transform)
    store = create_feature_store(job, encoder.to(accelerator.device), transform, accelerator)
    features = store.load_features(data.test, transform, Steps(Console(quiet=True), "", len(data.test)))
    return EncodedImages(features.numpy(), data.test.labels, data.classes, data.test)


def render_images(experiment: Experiment, images: Images, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Render the test views at these indices (n,) as images (n, H, W, 1 or 3) in [0, 1]."""
    batch, dataset = images.gather(indices), experiment.dataset
    views = create_view(
        experiment.augmentation("test"),
        batch,
        seed=0,
        epoch=0,
        view=0,
        mean=(0.0,),
        std=(1.0,),
        value_range=dataset.range,
        rgb=dataset.rgb,
    )
    values = views.clamp(0, 1).numpy()
    if is_shown_unchanged(batch.pixels[0].numpy(), dataset.rgb):
        return values.transpose(0, 2, 3, 1)
    return np.stack([choose_display(value, dataset.rgb).render(value) for value in values])
