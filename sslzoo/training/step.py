"""One optimizer step: forward and backward passes of its batches, then the update of the parameters."""

from collections.abc import Iterator
from dataclasses import dataclass

from accelerate import Accelerator

from sslzoo.data.batch import Batch
from sslzoo.data.images import Images
from sslzoo.data.stream import StreamedImages
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method, MethodOutput
from sslzoo.method.in_batch import InBatchMethod
from sslzoo.modules.clip import clip_gradients
from sslzoo.runtime.distributed import average_norm_statistics
from sslzoo.training.batches import TrainingBatches
from sslzoo.training.capture import CapturedPass, PassInputs, PassResult
from sslzoo.training.gradient_cache import accumulate_with_all_negatives
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.nonfinite import FiniteCheck
from sslzoo.training.setup import Learner


@dataclass
class Stepper:
    """Runs optimizer steps of a method; `step` counts them."""

    experiment: Experiment
    images: Images | StreamedImages
    learner: Learner
    accelerator: Accelerator
    means: IntervalMeans
    """Means of the metrics in the current interval."""
    step: int = 0
    """Number of optimizer steps so far."""

    def __post_init__(self) -> None:
        self.finite_check = FiniteCheck(self.method)
        self.batches = TrainingBatches(self.experiment, self.images, self.accelerator, self.method.student.backbone)
        trainable = [parameter for parameter in self.method.parameters() if parameter.requires_grad]
        self.captured_pass = CapturedPass(trainable) if self._can_capture() else None

    def _can_capture(self) -> bool:
        """Whether each step is a single pass of one process on a GPU, so that no gradients are accumulated."""
        single_pass = self.accelerator.num_processes == 1 and self.experiment.accumulate == 1
        return self.accelerator.device.type == "cuda" and self.experiment.cuda_graph and single_pass

    @property
    def method(self) -> Method:
        """The method without its wrapper for several processes."""
        method: Method = self.accelerator.unwrap_model(self.learner.model)
        return method

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return self.learner.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.experiment.epochs * self.steps_per_epoch

    def train_step(self, batches: Iterator[Batch], epoch: int) -> MethodOutput:
        """Run one optimizer step on the next batches and return the output of the last one."""
        if self.learner.schedule is not None:
            self.learner.schedule.step_update(self.step)
        chunks = (next(batches).to(self.accelerator.device) for _ in range(self.experiment.accumulate))
        if self.experiment.gradient_cache:
            output = self.accumulate_with_gradient_cache(list(chunks), epoch)
        else:
            for batch in chunks:
                output = self.accumulate(batch, epoch)
        self.step += 1
        average_norm_statistics(self.method)
        self.method.after_step(self.step / self.total_steps)
        return output

    def accumulate(self, batch: Batch, epoch: int) -> MethodOutput:
        """Add the gradients of a batch; the last batch of a step also updates the parameters."""
        views = self.batches.create_views(batch, epoch)
        with self.accelerator.accumulate(self.learner.model):
            output, finite_flags = self.run_pass(PassInputs(views, batch.ids, batch.labels))
            self.finite_check.check(self.step + 1, finite_flags)
            self.method.after_batch(output)
            self.step_optimizer()
        self.means.add(output, images=len(batch.ids) * self.accelerator.num_processes)
        return output

    def run_pass(self, inputs: PassInputs) -> PassResult:
        """Run `forward_and_backward`, through a CUDA graph if possible."""
        if self.captured_pass is None:
            return self.forward_and_backward(inputs)
        return self.captured_pass(self.forward_and_backward, inputs)

    def forward_and_backward(self, inputs: PassInputs) -> PassResult:
        """Compute the loss and its gradients, and check whether both are finite."""
        labels = {"labels": inputs.labels} if self.method.supervised else {}
        output: MethodOutput = self.learner.model(inputs.views, inputs.ids, **labels)
        self.accelerator.backward(output.loss)
        output = output._replace(loss=output.loss.detach())
        return PassResult(output, self.finite_check.compute_flags(output, gradients=self.accelerator.scaler is None))

    def accumulate_with_gradient_cache(self, batches: list[Batch], epoch: int) -> MethodOutput:
        """Add the gradients of all batches of a step, which share their negatives, and update the parameters."""
        assert isinstance(self.method, InBatchMethod)

        def after_backward(output: MethodOutput) -> None:
            finite_flags = self.finite_check.compute_flags(output, gradients=self.accelerator.scaler is None)
            self.finite_check.check(self.step + 1, finite_flags)
            self.step_optimizer()

        output = accumulate_with_all_negatives(
            self.accelerator,
            self.learner.model,
            self.method,
            batches,
            create_views=lambda batch: self.batches.create_views(batch, epoch),
            after_backward=after_backward,
        )
        self.method.after_batch(output)
        self.means.add(output, images=sum(len(batch.ids) for batch in batches) * self.accelerator.num_processes)
        return output

    def step_optimizer(self) -> None:
        """Update the parameters, unless accelerate expects further batches to accumulate."""
        if self.accelerator.sync_gradients:
            self.method.before_step(self.step / self.total_steps)
            self.clip_gradients()
        self.learner.optimizer.step()
        self.learner.optimizer.zero_grad()

    def clip_gradients(self) -> None:
        """Clip the accumulated gradients, if the experiment asks for it, and record their norm before clipping."""
        experiment = self.experiment
        norm = self.finite_check.gradient_norm
        if experiment.clip_grad_norm is not None:
            self.accelerator.unscale_gradients()
            norm = clip_gradients(self.method.parameters(), experiment.clip_grad_norm, experiment.clip_grad_scope)
        if norm is not None:
            self.means.add_gradient_norm(norm)
