"""Examine the health of a run at each log interval, and report when the verdict changes."""

from collections.abc import Mapping

from accelerate import Accelerator

from sslzoo.health.verdict import Examination, Verdict
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.folder import RunFolder


class Doctor:
    """Examines measurements on the main process.

    A resumed run reads the earlier ones from metrics.jsonl, so its verdicts equal those of an uninterrupted run.
    """

    def __init__(self, accelerator: Accelerator, folder: RunFolder, display: TrainingDisplay) -> None:
        self.display = display
        self._examines = accelerator.is_main_process
        self._examination = Examination(display.total_steps)
        for measured in folder.read_metrics() if self._examines else ():
            if "loss" in measured:
                self._examination.add(measured)

    @property
    def verdict(self) -> Verdict:
        """The latest verdict on the main process; `healthy` on others."""
        return self._examination.verdict

    def examine(self, step: int, values: Mapping[str, float]) -> Verdict:
        """Add the measurements of a step and return the verdict; report it if its kind has changed."""
        if self._examines:
            previous = self.verdict
            self._examination.add({"step": step, **values})
            if self.verdict.kind != previous.kind:
                self.display.warn(step, self.verdict.describe())
        return self.verdict
