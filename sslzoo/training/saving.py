"""Save checkpoints during training, and stop on request."""

import time
from collections.abc import Callable

from sslzoo.training.checkpoint import Checkpoints
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.folder import RunFolder
from sslzoo.training.nonfinite import FiniteCheck, require_finite_state
from sslzoo.training.stop import Interrupted, StopRequest

RETRY_SECONDS = 60
"""Time until a checkpoint that could not be written is retried."""


class CheckpointSaver:
    """Saves checkpoints that contain no NaN or Inf, and retries those that could not be written."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        folder: RunFolder,
        display: TrainingDisplay,
        finite_check: FiniteCheck,
        save_every: int,
        on_saved: Callable[[int], None] | None = None,
    ) -> None:
        """
        Args:
            finite_check: check of the model that is saved.
            save_every: steps between checkpoints, in addition to those that are due by time; 0 disables them.
            on_saved: called with the step of each written checkpoint.
        """
        self.checkpoints, self.folder, self.display = checkpoints, folder, display
        self.finite_check, self.save_every, self.on_saved = finite_check, save_every, on_saved
        self._saved_step: int | None = None
        self._error: str | None = None
        """Why the last checkpoint could not be written; None if it was written."""

    def save(self, step: int, *, notify: bool = True) -> None:
        """Save a checkpoint; if it cannot be written, warn and let training continue.

        Args:
            notify: whether to call `on_saved` if the checkpoint of this step is new.

        Raises:
            NonFiniteError: a tensor contains NaN or Inf.
        """
        self.finite_check.raise_pending()
        require_finite_state(self.finite_check.model, step)
        with self.display.remaining.pause():
            previous, self._error = self._error, self.checkpoints.save(step, best=self.folder.find_best_step())
        if previous is None and self._error is not None:
            self.display.warn(step, f"cannot write a checkpoint ({self._error}); training continues and will retry")
        if previous is not None and self._error is None:
            self.display.warn(step, "checkpoints can be written again")
        if self._error is None and step != self._saved_step:
            self._saved_step = step
            if notify and self.on_saved is not None:
                self.on_saved(step)

    def save_or_stop(self, step: int, stop: StopRequest) -> None:
        """Save a checkpoint if one is due or a signal requested a stop.

        Raises:
            Interrupted: a signal requested a stop.
        """
        due, signal = stop.poll(step)
        if due or (self.save_every and step % self.save_every == 0):
            self.save(step)
            if self._error is not None:
                stop.save_within(RETRY_SECONDS)
        if signal:
            raise Interrupted(self.describe_stop(step), code=128 + signal)

    def save_last(self, step: int, stop: StopRequest) -> None:
        """Save the last checkpoint, and retry until it is written.

        Raises:
            Interrupted: a signal requested a stop before the checkpoint was written.
        """
        self.save(step)
        if self._error is not None:
            self.display.warn(step, "training has finished; waiting until the checkpoint can be written; Ctrl-C aborts")
        while self._error is not None:
            with stop.allow_interrupt(self.describe_stop(step)):
                time.sleep(RETRY_SECONDS)
            self.save(step)

    def describe_stop(self, step: int, flags: str = "") -> str:
        """Describe where training stopped and whether it is saved.

        Args:
            flags: flags to add to the command that resumes the run.
        """
        where = f"stopped at step {step} of {self.display.total_steps}"
        if self._error is not None:
            return f"{where}, NOT saved ({self._error}); {self.describe_newest()}"
        command = " ".join(filter(None, [f"--resume {self.folder.path}", flags]))
        return f"{where}, saved; {command} continues it"

    def describe_newest(self) -> str:
        """Describe the checkpoint that the run can resume from."""
        newest = self.checkpoints.newest_step()
        checkpoint = f"the last good checkpoint is step {newest}" if newest else "no checkpoint yet"
        return f"{checkpoint} in {self.folder.path}"
