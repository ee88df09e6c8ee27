"""Features of a finished run's test pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sslzoo.backbones import create_backbone, resolve_name
from sslzoo.compose import compose
from sslzoo.data.load import load_data
from sslzoo.data.loader import ordered_batches
from sslzoo.data.pictures import Pictures
from sslzoo.data.views import make_view
from sslzoo.errors import UserError
from sslzoo.evaluate.features import extract
from sslzoo.experiment import Experiment
from sslzoo.train.folder import RunFolder


class Encoded(NamedTuple):
    """The test split through a trained backbone."""

    features: NDArray[np.float32]
    """(N, D)."""
    labels: NDArray[np.int64]
    """(N,)."""
    classes: list[str]
    """Names of the classes."""
    pictures: Pictures
    """The pictures, in the same order."""


def encode_test(run: Path) -> Encoded:
    """The labelled test pictures through the backbone that a run has trained, on the GPU where there is one.

    Raises:
        UserError: pictures, labels or backbone are not to be had any more.
    """
    folder = RunFolder(run)
    experiment = compose(["--config", str(folder.config)])
    data = load_data(experiment.dataset)
    if data.test is None or data.test.labels is None:
        raise UserError(f"{run}: its data set has no labelled test pictures")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = trained_backbone(experiment, folder.backbone).to(device)
    features, labels = extract(backbone, _views(experiment, data.test, device), device)
    return Encoded(features.numpy(), labels.numpy(), data.classes, data.test)


def trained_backbone(experiment: Experiment, weights: Path) -> nn.Module:
    """The experiment's backbone with the weights of that file.

    Raises:
        UserError: they are not there, or are another model's.
    """
    name = resolve_name(experiment.backbone, experiment.img_size)
    config = experiment.backbone.model_copy(
        update={"name": name, "stem": "standard", "pretrained": False, "checkpoint": weights}
    )
    return create_backbone(config, in_chans=experiment.dataset.channels, img_size=experiment.img_size)


def _views(experiment: Experiment, pictures: Pictures, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    dataset = experiment.dataset
    for stored in ordered_batches(pictures, experiment.batch_size, workers=dataset.workers):
        batch = stored.to(device)
        recipe = experiment.recipe("test")
        yield make_view(recipe, batch, seed=0, epoch=0, view=0, mean=dataset.mean, std=dataset.std), batch.labels


def show_pictures(experiment: Experiment, pictures: Pictures, places: NDArray[np.int64]) -> NDArray[np.float32]:
    """The test views at these places (n,) as pictures to look at, (n, H, W, C) in [0, 1]."""
    batch = pictures.gather(places)
    views = make_view(experiment.recipe("test"), batch, seed=0, epoch=0, view=0, mean=(0.0,), std=(1.0,))
    shown: NDArray[np.float32] = views.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return shown
