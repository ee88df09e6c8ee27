"""The training loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sslzoo.evaluate.representation import collapse_warning
from sslzoo.method.base import MethodOutput
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import CountSteps, print_warning
from sslzoo.train.checkpoint import Checkpoints
from sslzoo.train.console import TrainingDisplay
from sslzoo.train.folder import RunFolder
from sslzoo.train.monitor import health
from sslzoo.train.nonfinite import NonFiniteError, require_finite_state, require_scale
from sslzoo.train.step import Stepper
from sslzoo.train.stop import Interrupted, StopRequest

RETRY_SECONDS = 60
"""Time after which a checkpoint that could not be written is tried again."""

YOUNG = 50
"""Steps before the first collapse warning: early embeddings, and a queue of random keys, are not informative."""


@dataclass(kw_only=True)
class Training(Stepper):
    """A method in training; `run` trains from `step` to the end, saving and watching on the way."""

    folder: RunFolder
    checkpoints: Checkpoints
    display: TrainingDisplay
    watch: Callable[[CountSteps], float] | None
    """The kNN accuracy of the backbone as it is, showing its progress; called by all processes."""
    warned: bool = False
    unsaved: str | None = None
    """Why the last checkpoint could not be written, where it was not."""
    unwritten: str | None = None
    """Why metrics could not be written, where the last line was not."""

    def run(self, stop: StopRequest) -> None:
        """Train.

        Raises:
            Interrupted: a signal asked to stop; a checkpoint is saved.
            UserError: something is no longer finite; the checkpoints are.
        """
        try:
            self.train(stop)
        except NonFiniteError as error:
            raise UserError(f"{error}; {self.advice()}") from error

    def train(self, stop: StopRequest) -> None:
        """The epochs."""
        with self.display:
            self.learner.model.train()
            if self.step % self.per_epoch == 0:
                self.watch_knn(self.step // self.per_epoch, stop)
            for epoch in range(self.step // self.per_epoch, self.experiment.epochs):
                if self.step % self.per_epoch == 0:
                    self.method.before_epoch(epoch)
                batches = self.batches(epoch, skip=self.step - epoch * self.per_epoch)
                while self.step < (epoch + 1) * self.per_epoch:
                    output = self.optimize(batches, epoch)
                    due = self.display.advance(self.step)
                    if self.step % self.experiment.log_every == 0 or self.step == self.total:
                        self.log(output)
                    elif due:
                        self.display.show(self.step, self.means.own() | {"lr": self.lr})
                    self.save_or_stop(stop)
                self.watch_knn(epoch + 1, stop)
            self.save_last(stop)

    def log(self, output: MethodOutput) -> None:
        """Metrics of the steps since the last time, to file, tracker and display."""
        values = self.means.read(self.accelerator)
        if self.accelerator.scaler is not None:
            require_scale(self.accelerator.scaler, self.step)
        values |= {"lr": self.lr} | health(output.embeddings)
        self.record(values)
        self.display.show(self.step, values)
        warning = collapse_warning(values["embedding_std"], values["effective_rank"], output.embeddings.shape)
        settled = self.step > max(YOUNG, self.total // 10)
        if warning and settled and not self.warned:
            self.warn(warning)
        self.warned = settled and warning is not None

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        lr: float = self.learner.optimizer.param_groups[0]["lr"]
        return lr

    def watch_knn(self, epoch: int, stop: StopRequest) -> None:
        """Score the backbone if kNN is due after this epoch; a checkpoint comes first, as it may take long.

        A run that is stopped meanwhile, or resumes from that checkpoint, does it again.
        """
        if self.watch is None or epoch not in self.experiment.knn_epochs:
            return
        self.save()
        self.means.pause_clock()
        with stop.at_once(self.stopped()), self.display.remaining.evaluate():
            accuracy = self.watch(self.display.steps)
        self.means.resume_clock()
        self.display.knn(epoch, accuracy)
        self.record({"knn": accuracy})

    def record(self, values: dict[str, float]) -> None:
        """Metrics of this step, to file and trackers."""
        if self.accelerator.is_main_process:
            epoch = self.step / self.per_epoch
            reason = self.folder.log({"step": self.step, "epoch": epoch, **values})
            if reason is not None and self.unwritten is None:
                self.warn(f"metrics.jsonl cannot be written ({reason}); its lines are kept and tried again")
            self.unwritten = reason
        self.accelerator.log(values, step=self.step)

    def advice(self) -> str:
        """Advice for a run that stopped on NaN or Inf."""
        other = ", or bf16 or fp32 for precision" if self.experiment.precision == "fp16" else ""
        lr = self.experiment.optimizer.lr
        return f"a new run needs a lower optimizer.lr than {lr:g}{other}; {self.last_checkpoint()}"

    def last_checkpoint(self) -> str:
        """Which checkpoint the run can be resumed from."""
        newest = self.checkpoints.newest()
        which = f"the last good checkpoint is of step {newest}, in" if newest else "no checkpoint is yet in"
        return f"{which} {self.folder.path}"

    def save(self) -> None:
        """Save a checkpoint of this step; a failure to write is reported and does not end the run."""
        self.finite.raise_pending()
        require_finite_state(self.method, self.step)
        with self.display.remaining.pause():
            before, self.unsaved = self.unsaved, self.checkpoints.save(self.step, best=self.folder.best_step())
        if before is None and self.unsaved is not None:
            self.warn(f"cannot write a checkpoint ({self.unsaved}); training continues and will retry")
        if before is not None and self.unsaved is None:
            self.warn("checkpoints can be written again")

    def save_last(self, stop: StopRequest) -> None:
        """Save the last checkpoint; where it cannot be written, wait until it can be."""
        self.save()
        if self.unsaved is not None:
            self.warn("training is finished and waits until it can be saved; Ctrl-C aborts")
        while self.unsaved is not None:
            with stop.at_once(self.stopped()):
                time.sleep(RETRY_SECONDS)
            self.save()

    def save_or_stop(self, stop: StopRequest) -> None:
        """Save when a checkpoint is due; stop when a signal asked for it."""
        due, signal = stop.ask(self.step)
        every = self.experiment.save_every
        if due or (every and self.step % every == 0):
            self.save()
            if self.unsaved is not None:
                stop.ask_again(RETRY_SECONDS)
        if signal:
            raise Interrupted(self.stopped(), code=128 + signal)

    def stopped(self) -> str:
        """Message of a run that stops after it saved a checkpoint, or failed to."""
        where = f"stopped at step {self.step} of {self.total}"
        if self.unsaved is not None:
            return f"{where}, NOT saved ({self.unsaved}); {self.last_checkpoint()}"
        return f"{where}, saved; --resume {self.folder.path} continues it"

    def warn(self, text: str) -> None:
        """Print a warning about the last step."""
        print_warning(self.display.console, f"step {self.step}: {text}")
