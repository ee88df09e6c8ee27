"""One optimizer step, and the batches that it learns from."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from accelerate import Accelerator
from torch import Tensor

from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.augment.view import create_view
from sslzoo.data.batch import AugmentationParameters, Batch
from sslzoo.data.images import Images
from sslzoo.data.loader import epoch_batches, epoch_shares
from sslzoo.data.resident import ResidentImages
from sslzoo.data.stream import StreamedImages
from sslzoo.data.threads import threaded_map
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method, MethodOutput
from sslzoo.method.in_batch import InBatchMethod
from sslzoo.modules.backbones import preferred_memory_format
from sslzoo.modules.clip import clip_gradients
from sslzoo.runtime.distributed import average_norm_statistics
from sslzoo.train.capture import CapturedPass, Inputs, Result
from sslzoo.train.gradient_cache import accumulate_with_all_negatives
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.nonfinite import FiniteCheck
from sslzoo.train.setup import Learner


@dataclass
class Stepper:
    """Takes a learner from one optimizer step to the next."""

    experiment: Experiment
    images: Images | StreamedImages
    learner: Learner
    accelerator: Accelerator
    means: IntervalMeans
    """Of the interval under way."""
    step: int = 0
    """Optimizer steps done."""

    def __post_init__(self) -> None:
        self.finite = FiniteCheck(self.method)
        self.memory_format = preferred_memory_format(self.method.student.backbone)
        self.resident = self._load_resident()
        trained = [parameter for parameter in self.method.parameters() if parameter.requires_grad]
        self.captured = CapturedPass(trained) if self._can_capture() else None

    def _load_resident(self) -> ResidentImages | None:
        if self.accelerator.device.type != "cuda" or isinstance(self.images, StreamedImages):
            return None
        return ResidentImages.load(self.images, self.accelerator.device)

    def _can_capture(self) -> bool:
        """Whether a step is one pass of one process, so that gradients may replace those of the step before."""
        experiment = self.experiment
        one = self.accelerator.num_processes == 1 and experiment.accumulate == 1
        return self.accelerator.device.type == "cuda" and experiment.cuda_graph and one

    @property
    def method(self) -> Method:
        """The method itself, without what wraps it for several processes."""
        method: Method = self.accelerator.unwrap_model(self.learner.model)
        return method

    @property
    def per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return self.learner.steps_per_epoch

    @property
    def total(self) -> int:
        """Optimizer steps of the whole training."""
        return self.experiment.epochs * self.per_epoch

    def batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """This process's batches of an epoch, from optimizer step `skip` of it on.

        On a GPU, images that fit stay on the device, and their augmentation parameters are sampled there. Those of
        other images are sampled in the background, on the host: the GPU is spared some hundred small operations a step.
        """
        world, accumulate = self.accelerator.num_processes, self.experiment.accumulate
        batch_size = self.experiment.batch_size // accumulate // world
        rank, start, seed = self.accelerator.process_index, skip * accumulate, self.experiment.seed
        if self.resident is not None:
            shares = epoch_shares(
                len(self.images), seed=seed, epoch=epoch, batch_size=batch_size, rank=rank, world=world
            )  # fmt: skip
            return self.resident.batches(shares[start:], partial(self.sample_views, epoch=epoch))
        stored = epoch_batches(
            self.images,
            seed=seed,
            epoch=epoch,
            batch_size=batch_size,
            rank=rank,
            world=world,
            start=start,
            workers=self.experiment.dataset.workers,
        )
        if self.accelerator.device.type == "cpu":
            return stored
        return threaded_map(partial(self.with_parameters, epoch=epoch), stored)

    def with_parameters(self, batch: Batch, epoch: int) -> Batch:
        """The batch, with the parameters of each of its views."""
        return batch._replace(parameters=self.sample_views(batch.sizes, batch.ids, epoch=epoch)).pin_memory()

    def sample_views(self, sizes: Tensor, ids: Tensor, epoch: int) -> tuple[AugmentationParameters, ...]:
        """The augmentation parameters of each of the method's views, for images of these sizes (N, 2) and ids (N,)."""
        augmentations = [self.experiment.augmentation(name) for name in self.experiment.method.views]
        return tuple(
            sample_parameters(augmentation, sizes, ids, seed=self.experiment.seed, epoch=epoch, view=view)
            for view, augmentation in enumerate(augmentations)
        )

    def optimize(self, batches: Iterator[Batch], epoch: int) -> MethodOutput:
        """One optimizer step."""
        if self.learner.schedule is not None:
            self.learner.schedule.step_update(self.step)
        chunks = (next(batches).to(self.accelerator.device) for _ in range(self.experiment.accumulate))
        if self.experiment.gradient_cache:
            output = self.backward_together(list(chunks), epoch)
        else:
            for batch in chunks:
                output = self.backward(batch, epoch)
        self.step += 1
        average_norm_statistics(self.method)
        self.method.after_step(self.step / self.total)
        return output

    def backward(self, batch: Batch, epoch: int) -> MethodOutput:
        """Forward and backward of a batch, and the optimizer's step after the last one of those accumulated."""
        views = self.views(batch, epoch)
        with self.accelerator.accumulate(self.learner.model):
            output, finite = self.compute(Inputs(views, batch.ids, batch.labels))
            self.finite.look(self.step + 1, finite)
            self.method.after_batch(output)
            self.step_optimizer()
        self.means.add(output, images=len(batch.ids) * self.accelerator.num_processes)
        return output

    def compute(self, inputs: Inputs) -> Result:
        """`forward_and_backward`, replayed where it can be."""
        if self.captured is None:
            return self.forward_and_backward(inputs)
        return self.captured(self.forward_and_backward, inputs)

    def forward_and_backward(self, inputs: Inputs) -> Result:
        """The method's output without its graph, and whether all that the step would take is finite.

        A gradient scaler (fp16) checks the gradients itself.
        """
        labels = {"labels": inputs.labels} if self.method.supervised else {}
        output: MethodOutput = self.learner.model(inputs.views, inputs.ids, **labels)
        self.accelerator.backward(output.loss)
        output = output._replace(loss=output.loss.detach())
        return Result(output, self.finite.flags(output, gradients=self.accelerator.scaler is None))

    def backward_together(self, batches: list[Batch], epoch: int) -> MethodOutput:
        """The same for accumulated batches that share their negatives."""
        assert isinstance(self.method, InBatchMethod)

        def finish(output: MethodOutput) -> None:
            self.finite.look(self.step + 1, self.finite.flags(output, gradients=self.accelerator.scaler is None))
            self.step_optimizer()

        output = accumulate_with_all_negatives(
            self.accelerator,
            self.learner.model,
            self.method,
            batches,
            views=lambda batch: self.views(batch, epoch),
            finish=finish,
        )
        self.method.after_batch(output)
        self.means.add(output, images=sum(len(batch.ids) for batch in batches) * self.accelerator.num_processes)
        return output

    def step_optimizer(self) -> None:
        """A step of the optimizer, where all batches of it have been accumulated."""
        if self.accelerator.sync_gradients:
            self.method.before_step(self.step / self.total)
            self.clip_gradients()
        self.learner.optimizer.step()
        self.learner.optimizer.zero_grad()

    def clip_gradients(self) -> None:
        """Clip the accumulated gradients, if the experiment asks for it, and record their norm before clipping."""
        experiment = self.experiment
        if experiment.clip_grad_norm is None:
            return
        self.accelerator.unscale_gradients()
        norm = clip_gradients(self.method.parameters(), experiment.clip_grad_norm, experiment.clip_grad_scope)
        self.means.add_gradient_norm(norm)

    def views(self, batch: Batch, epoch: int) -> list[Tensor]:
        """The method's inputs, one (B, C, size, size) tensor a view."""
        experiment = self.experiment
        return [
            create_view(
                experiment.augmentation(name),
                batch,
                seed=experiment.seed,
                epoch=epoch,
                view=index,
                mean=experiment.dataset.mean,
                std=experiment.dataset.std,
                compiled=experiment.compile_augmentations is True,
                memory_format=self.memory_format,
            )
            for index, name in enumerate(experiment.method.views)
        ]
