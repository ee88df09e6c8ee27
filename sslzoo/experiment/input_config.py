"""Describe the images that an encoder was trained with, as timm's `pretrained_cfg` does."""

from typing import Any

from sslzoo.experiment.schema import Experiment
from sslzoo.weights.export import RANGE


def describe_input(experiment: Experiment) -> dict[str, Any]:
    """Return size, interpolation, crop, mean and std of a run's test view, under timm's names; and `range` unless the
    pixels have 8 bits.

    timm's crops are `center` and `squash`; a random crop of the test view becomes `center`.
    """
    test, dataset = experiment.augmentation("test"), experiment.dataset
    mean, std = (
        list(values) * dataset.channels if len(values) == 1 else list(values) for values in (dataset.mean, dataset.std)
    )
    own_range = {RANGE: list(dataset.range)} if dataset.dtype not in ("auto", "uint8") else {}
    return {
        "input_size": [dataset.channels, test.size, test.size],
        "interpolation": test.interpolation,
        "crop_pct": test.crop_pct,
        "crop_mode": "center" if test.crop == "random" else test.crop,
        "mean": mean,
        "std": std,
        **own_range,
    }
