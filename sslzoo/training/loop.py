"""The training loop."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from sslzoo.health.verdict import Verdict
from sslzoo.method.base import MethodOutput
from sslzoo.runtime.distributed import world_size
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import run_on_main_process
from sslzoo.runtime.progress import CountSteps
from sslzoo.training.callbacks import Callback, Callbacks, EpochMeans, Event, call, get_values
from sslzoo.training.checkpoint import Checkpoints
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.early_stop import EarlyStop, find_early_stop
from sslzoo.training.folder import RunFolder
from sslzoo.training.metrics import MetricsLogger
from sslzoo.training.nonfinite import NonFiniteError, require_loss_scale
from sslzoo.training.saving import CheckpointSaver
from sslzoo.training.signals import Signals
from sslzoo.training.step import Stepper
from sslzoo.training.stop import StopRequest


@dataclass(kw_only=True)
class TrainingLoop(Stepper):
    """Trains a method from `step` to the last epoch, with metrics, kNN evaluation and checkpoints.

    It ends earlier if `stop_after_no_gain` is set and the kNN accuracy no longer improves.
    """

    folder: RunFolder
    checkpoints: Checkpoints
    display: TrainingDisplay
    evaluate_knn: Callable[[CountSteps], float] | None
    """Computes the kNN accuracy of the backbone and shows its progress; called by all processes. None disables kNN."""
    callbacks: Callbacks = field(default_factory=Callbacks)

    early_stop: EarlyStop | None = field(default=None, init=False)
    """Why training ended before the last epoch; None if it did not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.epoch_means = EpochMeans()
        self.metrics = MetricsLogger(
            self.accelerator, self.means, Signals(self.method, start=self.step), self.folder, self.display
        )
        self.saver = CheckpointSaver(
            self.checkpoints,
            self.folder,
            self.display,
            self.finite_check,
            self.experiment.save_every,
            on_saved=self.report_checkpoint if self.callbacks.on_checkpoint is not None else None,
        )

    def run(self, stop: StopRequest) -> None:
        """Train from `step` to the last epoch.

        Raises:
            Interrupted: a signal requested a stop; a checkpoint has been saved.
            UserError: a tensor contains NaN or Inf, and the checkpoints do not; or see `stop_if_sick`.
        """
        try:
            with self.display:
                self.train_epochs(stop)
        except NonFiniteError as error:
            raise UserError(f"{error}; {self.suggest_settings()}; {self.saver.describe_newest()}") from error

    def train_epochs(self, stop: StopRequest) -> None:
        """Train the remaining epochs and save the last checkpoint."""
        self.learner.model.train()
        if self.step % self.steps_per_epoch == 0:
            self.run_knn(self.step // self.steps_per_epoch, stop)
        for epoch in range(self.step // self.steps_per_epoch, self.experiment.epochs):
            if self.should_stop_early():
                break
            self.train_epoch(epoch, stop)
            accuracy = self.run_knn(epoch + 1, stop)
            self.report_epoch(accuracy)
        self.saver.save_last(self.step, stop)

    def train_epoch(self, epoch: int, stop: StopRequest) -> None:
        """Train the remaining steps of an epoch."""
        steps_done = self.step - epoch * self.steps_per_epoch
        if steps_done == 0:
            self.method.before_epoch(epoch)
        batches = self.batches.load_epoch(epoch, skip_steps=steps_done)
        while self.step < (epoch + 1) * self.steps_per_epoch:
            output = self.train_step(batches, epoch)
            self.log_step(output)
            self.report_step(output)
            self.saver.save_or_stop(self.step, stop)

    def log_step(self, output: MethodOutput) -> None:
        """Update the display, and log metrics every `log_every` steps and after the last step."""
        display_due = self.display.advance(self.step)
        if self.step % self.experiment.log_every == 0 or self.step == self.total_steps:
            if self.accelerator.scaler is not None:
                require_loss_scale(self.accelerator.scaler, self.step)
            verdict = self.metrics.log_interval(self.step, self.learning_rate, output)
            if self.experiment.on_collapse == "stop":
                self.stop_if_sick(run_on_main_process(self.accelerator, lambda: verdict))
        elif display_due:
            self.display.show_metrics(self.step, self.means.compute_local() | {"lr": self.learning_rate})

    def report_step(self, output: MethodOutput) -> None:
        """Call `on_step` after a step, and add the step to the means for `on_epoch`."""
        if self.callbacks.on_epoch is not None:
            self.epoch_means.add(output)
        if self.callbacks.on_step is not None:
            self.call(self.callbacks.on_step, {**get_values(output), "lr": self.learning_rate})

    def report_epoch(self, knn: float | None) -> None:
        """Call `on_epoch` after an epoch and its kNN evaluation."""
        if self.callbacks.on_epoch is not None:
            values = {**self.epoch_means.compute_and_reset(), "lr": self.learning_rate}
            self.call(self.callbacks.on_epoch, values | ({} if knn is None else {"knn": knn}))

    def report_checkpoint(self, step: int) -> None:
        """Call `on_checkpoint` after a checkpoint was saved."""
        if self.callbacks.on_checkpoint is not None:
            call(self.callbacks.on_checkpoint, self.create_event({}, self.checkpoints.folder / f"step-{step:08d}"))

    def call(self, callback: Callback, values: Mapping[str, Tensor | float]) -> None:
        """Call a callback; if it raises, save a checkpoint first, unless other processes would have to take part."""
        try:
            call(callback, self.create_event(values))
        except BaseException:
            if world_size() == 1:
                with suppress(NonFiniteError):
                    self.saver.save(self.step, notify=False)
            raise

    def create_event(self, values: Mapping[str, Tensor | float], checkpoint: Path | None = None) -> Event:
        """Create the event of this step."""
        epoch = self.step / self.steps_per_epoch
        return Event(self.step, self.total_steps, epoch, self.method, self.folder.path, checkpoint, values)

    def stop_if_sick(self, verdict: Verdict) -> None:
        """Save a checkpoint and stop, unless the verdict is healthy; called by all processes with the same verdict.

        Raises:
            UserError: the run is not healthy; a checkpoint has been saved if it could be written.
        """
        if verdict.is_healthy:
            return
        self.saver.save(self.step)
        raise UserError(f"{verdict.describe()}; {self.saver.describe_stop(self.step, '--on-collapse warn')}")

    def run_knn(self, epoch: int, stop: StopRequest) -> float | None:
        """Evaluate kNN if it is due after this epoch, and return its accuracy.

        A checkpoint is saved first, because the evaluation may take long. A run that is stopped during the evaluation
        repeats it when it resumes.
        """
        if self.evaluate_knn is None or epoch not in self.experiment.knn_epochs:
            return None
        self.saver.save(self.step)
        self.means.pause_clock()
        with stop.allow_interrupt(self.saver.describe_stop(self.step)), self.display.remaining.measure_evaluation():
            accuracy = self.evaluate_knn(self.display.create_progress)
        self.means.resume_clock()
        self.display.show_knn(epoch, accuracy)
        self.metrics.write(self.step, {"knn": accuracy})
        return accuracy

    def should_stop_early(self) -> bool:
        """Decide from the kNN accuracies so far, on the main process, whether training ends before its last epoch."""
        experiment, patience = self.experiment, self.experiment.stop_after_no_gain
        if not patience or self.step % self.steps_per_epoch:
            return False
        self.early_stop = run_on_main_process(
            self.accelerator, lambda: find_early_stop(self.folder.read_metrics(), patience, experiment.epochs)
        )
        if self.early_stop is not None:
            self.display.show_early_stop(self.epochs_done, self.early_stop.describe())
        return self.early_stop is not None

    @property
    def epochs_done(self) -> int:
        """Number of complete epochs so far."""
        return self.step // self.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last step; the largest one if it differs by layer."""
        return max(float(group["lr"]) for group in self.learner.optimizer.param_groups)

    def suggest_settings(self) -> str:
        """Suggest settings for a new run after NaN or Inf."""
        precision = ", or with bf16 or fp32 as precision" if self.experiment.precision == "fp16" else ""
        return f"start a new run with optimizer.lr below {self.experiment.optimizer.lr:g}{precision}"
