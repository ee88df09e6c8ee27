"""Views of labeled images on which a classifier is trained."""

from collections.abc import Iterator

from torch import Tensor

from sslzoo.data.images import Images
from sslzoo.data.loader import batches_per_epoch, epoch_batches
from sslzoo.evaluation.evaluated import EvaluatedEncoder
from sslzoo.runtime.progress import Steps


class TrainingViews:
    """Iterates over (step, view (B, C, size, size), labels (B,)) of this process and shows the progress.

    Views are created by the `probe` augmentation. The order of the images and their views are functions of the seed and
    differ in each epoch. The last incomplete batch is dropped.

    Args:
        what: description of the training, for the progress display.
        batch_size: images per step over all processes; at most all images, and the same number on each process.
        start: number of steps to skip at the beginning.
    """

    def __init__(
        self,
        evaluated: EvaluatedEncoder,
        images: Images,
        what: str,
        *,
        seed: int,
        epochs: int,
        batch_size: int,
        start: int,
    ) -> None:
        self._evaluated, self._images, self._what = evaluated, images, what
        self._seed, self._epochs, self._start = seed, epochs, start
        self._world = int(evaluated.accelerator.num_processes)
        self._local_batch_size = max(1, min(batch_size, len(images)) // self._world)
        self.steps_per_epoch = batches_per_epoch(len(images), self._local_batch_size, self._world)
        self.total_steps = epochs * self.steps_per_epoch
        self.note = ""
        """Text to show beside the progress."""

    @property
    def batch_size(self) -> int:
        """Images per step over all processes."""
        return self._local_batch_size * self._world

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        evaluated, accelerator = self._evaluated, self._evaluated.accelerator
        remaining = (self.total_steps - self._start) * self.batch_size
        with Steps(evaluated.console, self._what, remaining) as progress:
            for epoch in range(self._start // self.steps_per_epoch, self._epochs):
                skip = max(0, self._start - epoch * self.steps_per_epoch)
                batches = epoch_batches(
                    self._images,
                    seed=self._seed,
                    epoch=epoch,
                    batch_size=self._local_batch_size,
                    rank=accelerator.process_index,
                    world=self._world,
                    start=skip,
                    workers=evaluated.workers,
                )
                for step, stored in enumerate(batches, start=epoch * self.steps_per_epoch + skip):
                    batch = stored.to(accelerator.device)
                    view = evaluated.transform.create_view(evaluated.probe, batch, seed=self._seed, epoch=epoch)
                    yield step, view, batch.labels
                    progress.advance(self.batch_size, f"epoch {epoch + 1}/{self._epochs}{self.note}")
