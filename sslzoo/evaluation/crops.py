"""Random crops of an image, whose features are averaged."""

from dataclasses import dataclass

from sslzoo.data.augment.config import Augmentation
from sslzoo.evaluation.job import EvaluationJob
from sslzoo.runtime.errors import UserError, near_misses


@dataclass(frozen=True)
class Crops:
    """Random crops of an image; they are functions of the seed and the image's id."""

    count: int
    """Number of crops of an image."""
    name: str
    """Name of the augmentation."""
    augmentation: Augmentation
    """The augmentation; it has the size of the test view if it has none."""
    seed: int

    def __str__(self) -> str:
        return f"mean of {self.count} crops by {self.name}, seed {self.seed}"


def choose_crops(job: EvaluationJob) -> Crops | None:
    """Return the crops that are asked for; None for the test view.

    Raises:
        UserError: the augmentation does not exist.
    """
    if not job.crops:
        return None
    known = list(type(job.augmentations).model_fields)
    if job.crop_augmentation not in known:
        name = job.crop_augmentation
        raise UserError(f"--crop-augmentation {name}: no such augmentation{near_misses(name, known)}")
    return Crops(job.crops, job.crop_augmentation, job.augmentation(job.crop_augmentation), job.seed)
