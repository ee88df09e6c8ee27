"""Select the images of an evaluation."""

import torch
from torch import Tensor

from sslzoo.config.layers import read_layer
from sslzoo.data.held_out import MIN_IMAGES
from sslzoo.data.images import Images
from sslzoo.data.load import Data
from sslzoo.evaluation.job import EvaluationJob
from sslzoo.runtime.errors import UserError

DECIDE_TEST = ("train", "labeled", "test", "unlabeled", "label", "limit", "test_share", "test_seed")
"""Settings of a data set that decide which images are held out for a test."""


def select_labeled_images(data: Data, job: EvaluationJob) -> tuple[Images, Images]:
    """Select the labeled images to learn from and to test on.

    Raises:
        UserError: there are none.
    """
    where = job.dataset.path or job.dataset.source
    if data.labeled is None:
        ignored = "; --dataset.unlabeled false reads class folders" if job.dataset.unlabeled else ""
        raise UserError(
            f"evaluate: {where} ({job.dataset.labeled or job.dataset.train}) has no labels, which this protocol needs"
            f"{ignored}; --dataset.label names the column; --protocol representation needs none"
        )
    if data.test is None:
        reason = f"a class has fewer than {MIN_IMAGES} labeled images" if job.dataset.test_share else "test_share is 0"
        raise UserError(f"--dataset.test None: {where} needs a split to test on, and none can be held out: {reason}")
    if not has_all_labels(data.test):
        raise UserError(f"--dataset.test {job.dataset.test}: images without labels cannot be tested on")
    return data.labeled, data.test


def select_images_without_labels(data: Data) -> tuple[Images, Images]:
    """Select the images for measures of the representation, as both train and test: the test split if there is one.

    Raises:
        UserError: train is a stream, and there is no test split.
    """
    images = data.train if data.test is None else data.test
    if not isinstance(images, Images):
        raise UserError("--dataset.streaming true: a stream cannot be measured; name a split by --dataset.test")
    return images, images


def describe_held_out(job: EvaluationJob, data: Data) -> str | None:
    """Describe how the test split was held out, and whether the evaluated run may have trained on its images.

    Returns:
        None if the data set has a test split.
    """
    if data.held_out is None:
        return None
    trained = {} if job.run is None else read_layer(job.run / "config.yaml")["dataset"]
    own = job.dataset.model_dump(mode="json")
    same_images = all(trained.get(key) == own[key] for key in ("source", "path", "subset"))
    same_split = all(trained.get(key) == own[key] for key in DECIDE_TEST)
    seen = "; the run trained on some or all of them" if same_images and not same_split else ""
    return data.held_out.describe() + seen


def has_all_labels(images: Images) -> bool:
    """Whether every image has a label."""
    return images.labels is not None and not bool((images.labels < 0).any())


def get_labels(images: Images) -> Tensor:
    """Return the labels (N,) int64 of labeled images."""
    assert images.labels is not None
    return torch.from_numpy(images.labels)
