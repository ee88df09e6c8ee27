"""Batches of training images and their views."""

from collections.abc import Iterator
from functools import partial

from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.batch import AugmentationParameters, Batch
from sslzoo.data.images import Images
from sslzoo.data.loader import epoch_batches, epoch_shares
from sslzoo.data.resident import ResidentImages
from sslzoo.data.stream import StreamedImages
from sslzoo.data.threads import threaded_map
from sslzoo.experiment.schema import Experiment
from sslzoo.experiment.views import create_views
from sslzoo.modules.backbones import preferred_memory_format


class TrainingBatches:
    """Loads the batches of this process and creates their views.

    On a GPU, images that fit into device memory stay there, and their augmentation parameters are sampled there. For
    other images the parameters are sampled on the host in the background, which saves the GPU some hundred small
    operations per step.

    Args:
        backbone: the backbone that the views are for; it determines their memory format.
    """

    def __init__(
        self, experiment: Experiment, images: Images | StreamedImages, accelerator: Accelerator, backbone: nn.Module
    ) -> None:
        self.experiment, self.images, self.accelerator = experiment, images, accelerator
        self.memory_format = preferred_memory_format(backbone)
        self._resident: ResidentImages | None = None
        if accelerator.device.type == "cuda" and not isinstance(images, StreamedImages):
            self._resident = ResidentImages.load(images, accelerator.device)

    def load_epoch(self, epoch: int, skip_steps: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of an epoch, `accumulate` of them per optimizer step.

        Args:
            skip_steps: number of optimizer steps to skip at the beginning of the epoch.
        """
        experiment, world = self.experiment, self.accelerator.num_processes
        batch_size = experiment.batch_size // experiment.accumulate // world
        rank, start, seed = self.accelerator.process_index, skip_steps * experiment.accumulate, experiment.seed
        if self._resident is not None:
            shares = epoch_shares(
                len(self.images), seed=seed, epoch=epoch, batch_size=batch_size, rank=rank, world=world
            )  # fmt: skip
            return self._resident.batches(shares[start:], partial(self.sample_augmentations, epoch=epoch))
        batches = epoch_batches(
            self.images,
            seed=seed,
            epoch=epoch,
            batch_size=batch_size,
            rank=rank,
            world=world,
            start=start,
            workers=experiment.dataset.workers,
        )
        if self.accelerator.device.type == "cpu":
            return batches
        return threaded_map(partial(self.add_augmentations, epoch=epoch), batches)

    def add_augmentations(self, batch: Batch, epoch: int) -> Batch:
        """Add the augmentation parameters of each view to a batch, in pinned memory."""
        return batch._replace(parameters=self.sample_augmentations(batch.sizes, batch.ids, epoch=epoch)).pin_memory()

    def sample_augmentations(self, sizes: Tensor, ids: Tensor, epoch: int) -> tuple[AugmentationParameters, ...]:
        """Sample the augmentation parameters of each view for images with these sizes (N, 2) and ids (N,)."""
        augmentations = [self.experiment.augmentation(name) for name in self.experiment.method.views]
        return tuple(
            sample_parameters(
                augmentation,
                sizes,
                ids,
                seed=self.experiment.seed,
                epoch=epoch,
                view=view,
                channels=self.images.channels,
            )
            for view, augmentation in enumerate(augmentations)
        )

    def create_views(self, batch: Batch, epoch: int) -> list[Tensor]:
        """Create the inputs of the method: a (B, C, size, size) tensor for each view."""
        return create_views(self.experiment, batch, epoch, self.memory_format)
